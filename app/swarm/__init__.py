"""Being in a swarm: joining and leaving it, and staying connected.

`membership` is the entrance: join, leave, invite, reconnect. Beneath it `lifeline` notices that the
swarm is lost; `fleet_sync` publishes this machine's record and reads the others' into `fleet`;
`look` says who is in a swarm before it is joined; `connection_check` finds out why there is no
connection; `recents` remembers swarms, and `way_back` leads to the last one at the start.
The session, training, the local API and `ui` import from here. This package knows neither trainers
nor the backend: whatever must end before a swarm is left, the session passes to the membership.
"""
