//! The core without sockets.
