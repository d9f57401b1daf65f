"""Several steps of an inner optimizer on each machine, then an exchange of what was learnt.

`residual` keeps what a machine learnt and has not sent yet, `dense` and `sparse` turn it into a
blob of few bytes and many blobs into their mean (`codec` says what both have in common), `outer`
applies the mean to the weights that all machines share.
Nothing here knows of networks, hivemind or files.
"""
