// The command lines of the README, word for word, in a shell with real curl.
// parts: curl

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { omnivox } from '../lib/omnivox.mjs';
import { program } from '../lib/programs.mjs';
import { curlLines } from '../lib/documents.mjs';

function shell(t, server, line) {
  const there = line.replace('localhost:8080', `localhost:${server.port}`);
  assert.notEqual(there, line, 'the line names the default address');
  return program(t, 'sh', ['-c', `exec ${there.replace(/^curl /, 'curl --silent --show-error ')}`]);
}

const line = (path) => {
  const found = curlLines().find((line) => line.includes(path));
  assert.ok(found, `the README shows curl with ${path}`);
  return found;
};

test('/publish', async (t) => {
  const server = await omnivox(t);
  for (let count = 0; count < 2; count += 1) {
    const curl = shell(t, server, line('/publish'));
    assert.equal((await curl.ended).code, 0, curl.output);
    assert.equal(JSON.parse(curl.output).channel, 'general');
  }
  const { json } = await server.get('/v1/history?channel=general');
  assert.deepEqual(json.events.map(({ event, data }) => ({ event, data })), [{ event: 'chat', data: { text: 'hi' } }]);
});

test('/sse shows what is published while it runs', async (t) => {
  const server = await omnivox(t);
  const curl = shell(t, server, line('/sse'));
  await curl.printed(/:/);
  await server.publish('news', 'extra', { event: 'paper' });
  await curl.printed(/^id: ?\S+$/m);
  await curl.printed(/^data: ?.*"data":"extra"/m);
});

test('/poll with a place that never was says gap at once', async (t) => {
  const server = await omnivox(t);
  const curl = shell(t, server, line('/poll'));
  assert.equal((await curl.ended).code, 0, curl.output);
  assert.equal(JSON.parse(curl.output).gap, true);
});
