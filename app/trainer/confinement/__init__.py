"""What the trainer may reach: files by Landlock, memory by limits, no sign-in of the user's.

`process` calls `confine` once it has the app's order, before torch is imported. `places` says which
files a trainer needs, `landlock` makes the kernel refuse all others, `environment` sends the
libraries' caches into the app's own, `memory` holds the trainer to a share of the machine's memory.
docs/decisions/trainer-confinement.md has the reasons and what was measured.
"""
