// The rooms of the JavaScript client without a browser: what they know of the members, whatever order a carrier hands things over in.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Peer, room } from '../../clients/js/rtc.js';

/// What a room needs of a peer connection: it keeps the description that it was given.
class Connection {
  signalingState = 'stable';
  connectionState = 'new';

  createDataChannel() { return {}; }
  setRemoteDescription(description) { this.remoteDescription = description; return Promise.resolve(); }
  setLocalDescription() { this.localDescription = { type: 'answer' }; return Promise.resolve(); }
  setConfiguration() {}
  close() {}
}

/// A client whose answer to `enter` comes in one piece with what the others say, as in the body of a poll.
class InOnePiece {
  #listeners = new Map();
  told = [];

  constructor(answer, events) {
    Object.assign(this, { answer, events });
  }

  on(name, listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
    return () => {};
  }

  emit(name, value) { for (const listener of this.#listeners.get(name) ?? []) listener({ channel: 'r', ...value }); }
  subscribe() { queueMicrotask(() => this.emit('subscribed', {})); }
  tell(message) { this.told.push(message); return true; }

  request() {
    return new Promise((resolve) => {
      setImmediate(() => {
        resolve(this.answer);
        for (const [name, value] of this.events) this.emit(name, value);
      });
    });
  }
}

test('what comes in one piece with the seat is not lost', async (t) => {
  globalThis.RTCPeerConnection = Connection;
  t.after(() => { delete globalThis.RTCPeerConnection; });
  const offer = { type: 'offer', sdp: 'v=0' };
  const client = new InOnePiece({ member: '~c', peers: [{ member: '~a', session: 's1', data: {}, polite: true }] }, [
    ['presence', { action: 'enter', member: { key: '~b', session: 's2', data: {} } }],
    ['signal', { from: '~a', data: { description: offer } }],
    ['signal', { from: '~b', data: { description: offer } }],
  ]);
  const call = await room(client, 'r');
  assert.deepEqual(call.peers.map(({ member }) => member), ['~a', '~b']);
  await new Promise(setImmediate);
  assert.deepEqual(call.peers.map(({ connection }) => connection.remoteDescription), [offer, offer]);
  assert.deepEqual(client.told.map(({ to, data }) => [to, data.description.type]), [['~a', 'answer'], ['~b', 'answer']]);
});

test('nothing is said over a channel before its other end is open', async (t) => {
  class Channel {
    label = 'omnivox';
    readyState = 'connecting';
    sent = [];

    send(text) { this.sent.push(text); }
  }
  globalThis.RTCPeerConnection = class extends Connection {
    createDataChannel() { return new Channel(); }
  };
  t.after(() => { delete globalThis.RTCPeerConnection; });
  const client = new InOnePiece({ member: '~b', peers: [{ member: '~a', session: 's1', data: {}, polite: true }] }, [
    ['presence', { action: 'enter', member: { key: '~c', session: 's2', data: {} } }],
  ]);
  const call = await room(client, 'r');
  t.after(() => call.peers.forEach((peer) => peer.close()));
  await new Promise(setImmediate);
  const [before, after] = call.peers;
  assert.deepEqual([before.polite, after.polite], [true, false]);
  call.send('early');
  const told = () => client.told.filter(({ data }) => data.open).map(({ to }) => to);

  // The other side made this one: it is open when it comes.
  const given = Object.assign(new Channel(), { readyState: 'open' });
  before.connection.ondatachannel({ channel: given });
  given.onopen();
  before.send('still early');
  assert.deepEqual([given.sent, told()], [[], ['~a']]);
  client.emit('signal', { from: '~a', data: { open: true } });
  before.send('late');
  assert.deepEqual(given.sent, ['"early"', '"still early"', '"late"']);

  // This side made the other one, and its other end was open first.
  client.emit('signal', { from: '~c', data: { open: true } });
  assert.deepEqual(after.channel.sent, []);
  after.channel.readyState = 'open';
  after.channel.onopen();
  assert.deepEqual([after.channel.sent, told()], [['"early"'], ['~a', '~c']]);

  // Who never tells, but speaks, has an open end as well.
  const other = new Peer({ member: '~d', polite: true }, {}, () => true);
  t.after(() => other.close());
  const spoken = Object.assign(new Channel(), { readyState: 'open' });
  other.connection.ondatachannel({ channel: spoken });
  other.send('answer');
  assert.deepEqual(spoken.sent, []);
  spoken.onmessage({ data: '"hello"' });
  assert.deepEqual(spoken.sent, ['"answer"']);
});
