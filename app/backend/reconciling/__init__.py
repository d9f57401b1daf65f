"""What the backend has counted, compared with the ledger: rows have no ids.

`matching` finds our contributions among the rows of a read-back. `doubts` settles those whose
answer was lost, `memory` notices those that the backend has confirmed and forgotten.
`app.backend.delivery` owns one of each.
"""
