"""One gateway takes the place of another with no connection refused and no request lost.

The new one connects to a private socket in the state folder (`new`), the old one answers there (`old`): it
gives its listening sockets, serves those who came (`quiet`), and leaves the store and the folder. Who
connects meanwhile waits in the kernel's queue of the listening socket.
"""
