"""What this machine is like just now, as far as the volunteer's terms ask for it."""
