// Answers to polls are compressed as the reference server compresses them: from 1,024 bytes up, for clients that take gzip.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { omnivox } from '../lib/omnivox.mjs';

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

for (const [encoding, bytes, compressed] of [
  ['gzip, deflate, br', 2000, true],
  ['gzip, deflate, br', 500, false],
  ['deflate, gzip;q=0.5', 2000, true],
  ['gzip;q=0', 2000, false],
  ['br', 2000, false],
  [undefined, 2000, false],
]) {
  test(`${encoding}, ${bytes} bytes`, async (t) => {
    const server = await omnivox(t);
    const endpoint = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await get(endpoint)).body.toString().slice(1));
    const session = `${endpoint}&sid=${sid}`;
    const post = async (body) => assert.equal(await (await fetch(session, { method: 'POST', body })).text(), 'ok');
    for (const [packet, answer] of [['40', /^40\{/], ['420["join","a"]', /^430\[/]]) {
      await post(packet);
      assert.match((await get(session)).body.toString(), answer);
    }
    await server.publish('a', 'x'.repeat(bytes), { event: 'news' });
    const { headers, body } = await get(session, encoding);
    assert.equal(headers['content-encoding'], compressed ? 'gzip' : undefined);
    assert.equal(Number(headers['content-length']), body.length);
    assert.match((compressed ? gunzipSync(body) : body).toString(), /^42\["news","x+",/);
  });
}
