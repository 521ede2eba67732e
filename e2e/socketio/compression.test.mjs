// Answers to polls are compressed as the reference server compresses them: from 1,024 bytes up, with the coding that the client likes best.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { gunzipSync, inflateSync } from 'node:zlib';
import { omnivox } from '../lib/omnivox.mjs';
import { OPEN } from '../lib/settings.mjs';
import { ENGINE3 } from '../lib/socketio.mjs';

/// A GET whose body stays as it came.
function get(url, encoding) {
  return new Promise((resolve, reject) => {
    http.get(url, { headers: encoding ? { 'accept-encoding': encoding } : {} }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(parts) }));
    }).on('error', reject);
  });
}

const PLAIN = { gzip: gunzipSync, deflate: inflateSync, undefined: (body) => body };

/// What `news` of so many bytes comes as, for a client of that version which has joined room `a`.
async function answer(server, version, encoding, bytes) {
  const endpoint = `${server.url}/socket.io/?EIO=${version}&transport=polling`;
  const opened = (await get(endpoint)).body.toString();
  const { sid } = JSON.parse(/\{.*\}/.exec(opened)[0]);
  const session = `${endpoint}&sid=${sid}`;
  // Packets of Engine.IO 3 are counted.
  const written = (packet) => (version === 3 ? `${packet.length}:${packet}` : packet);
  const post = async (body) => assert.equal(await (await fetch(session, { method: 'POST', body: written(body) })).text(), 'ok');
  if (version === 4) await post('40');
  let heard = '';
  while (!heard.includes('40')) heard += (await get(session)).body;
  await post('420["join","a"]');
  while (!heard.includes('430[')) heard += (await get(session)).body;
  await server.publish('a', 'x'.repeat(bytes), { event: 'news' });
  const { headers, body } = await get(session, encoding);
  const coding = headers['content-encoding'];
  assert.equal(Number(headers['content-length']), body.length);
  assert.match(PLAIN[coding](body).toString(), /42\["news","x+"/);
  return coding;
}

for (const version of [4, 3]) {
  test(`Engine.IO ${version}`, async (t) => {
    const server = await omnivox(t, { settings: OPEN + ENGINE3 });
    for (const [encoding, bytes, coding] of [
      ['gzip, deflate, br', 2000, 'gzip'],
      ['gzip, deflate, br', 500, undefined],
      ['deflate, gzip;q=0.5', 2000, 'deflate'],
      ['deflate', 2000, 'deflate'],
      ['gzip;q=0', 2000, undefined],
      ['br', 2000, undefined],
      [undefined, 2000, undefined],
    ]) {
      assert.equal(await answer(server, version, encoding, bytes), coding, `${encoding}, ${bytes} bytes`);
    }
  });
}

test('the size can be set, and compression turned off', async (t) => {
  const small = await omnivox(t, { settings: `${OPEN}[socketio]\ncompression_bytes_min = 100\n` });
  assert.equal(await answer(small, 4, 'gzip', 500), 'gzip');
  const off = await omnivox(t, { settings: `${OPEN}[socketio]\ncompression = false\n` });
  assert.equal(await answer(off, 4, 'gzip', 2000), undefined);
});
