// A fan-out server on npm `socket.io`, with its defaults.
//
//   omnivox bench fanout --transport socketio --peer 'socket.io=node bench/peers/socketio/server.mjs {port}'
//
// A client joins rooms and publishes to one, as with omnivox itself. With a second argument `recovery` its connection state recovery is on, which is what
// gives its events an offset too.

import { createServer } from 'node:http';
import { Server } from 'socket.io';

const port = Number(process.argv[2]);
if (!Number.isInteger(port)) {
  console.error('usage: node server.mjs PORT [recovery]');
  process.exit(2);
}

const http = createServer();
const io = new Server(http, process.argv[3] === 'recovery' ? { connectionStateRecovery: {} } : {});
io.on('connection', (socket) => {
  socket.on('join', async (room, answer) => {
    await socket.join(room);
    answer({ ok: true });
  });
  socket.on('publish', (room, event, data) => { io.to(room).emit(event, data); });
});
http.listen(port, '127.0.0.1');
