//! Socket.IO 5 over Engine.IO 4 and 3.
