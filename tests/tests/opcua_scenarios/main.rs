//! OPC UA through whole programs, with counterparts that we did not write, over encrypted sessions: asyncua as a client
//! of the demo's line, node-opcua as a server that a gateway reads. `tests/setup.sh` installs both.

mod counterparts;
mod line;
mod server;
