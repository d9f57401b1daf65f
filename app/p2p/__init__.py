"""The peer-to-peer network, as the app's own process takes part in it.

Here live the embedded peer (`peer`), the machine records and where they lie in the DHT
(`machine_records`, `board`), the keys and validators of a run (`run_records`), our place in the
network (`network`) and the checks that call peers as a stranger does (`scout`, `prober`). Only
`calls` touches hivemind's daemon; everything else catches its `CallError`. Other packages of the
app may use these modules but not hivemind itself; the trainer shares `run_records` and `meeting`,
on which app and trainer must agree. This package knows `app.common` only: neither settings nor
state, no specs and no window.
"""
