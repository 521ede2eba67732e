// The same bytes for omnivox, nginx, HAProxy and hyper: where they differ, omnivox is the strictest.
// parts: nginx, haproxy
// budget: 240 s

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { MALFORMED, SLOPPY } from '../lib/battery.mjs';
import { ROOT, TARGET, omnivox } from '../lib/omnivox.mjs';
import { Program } from '../lib/programs.mjs';
import { haproxy, nginx } from '../lib/proxies.mjs';
import { raw } from '../lib/raw.mjs';

/// The status of the first answer; 0 when the connection ends without one, or when the peer waits for more.
async function verdict(t, port, request) {
  const peer = await raw(t, port);
  peer.send(request(`127.0.0.1:${port}`));
  const answer = () => /^HTTP\/1\.[01] (\d{3})/.exec(peer.text);
  await peer.when(() => answer() || peer.over, 'an answer', 2_000).catch(() => peer.socket.end());
  if (!answer()) await peer.closed();
  peer.socket.destroy();
  return answer() ? Number(answer()[1]) : 0;
}

const isServed = (status) => status >= 200 && status < 300;

test('what nginx or HAProxy refuses is refused here, too', async (t) => {
  const server = await omnivox(t);
  // Behind the proxies stands somebody who serves everything, so that the refusals are theirs.
  const anything = createServer((request, response) => { request.resume().on('end', () => response.end('ok')); });
  await new Promise((resolve) => anything.listen(0, '127.0.0.1', resolve));
  t.after(() => anything.close());
  const upstream = anything.address().port;
  const proxies = [['nginx', (await nginx(t, upstream)).port], ['haproxy', (await haproxy(t, upstream)).port]];
  const stricter = [];
  for (const [what, request] of [...MALFORMED, ...SLOPPY]) {
    await t.test(what, async (t) => {
      const ours = await verdict(t, server.port, request);
      for (const [name, port] of proxies) {
        const theirs = await verdict(t, port, request);
        assert.ok(!isServed(ours) || isServed(theirs), `${name} answers ${theirs}, omnivox ${ours}`);
        if (isServed(theirs) && !isServed(ours)) stricter.push(`${name}: ${what}`);
      }
    });
  }
  t.diagnostic(`stricter than ${stricter.join('; ')}`);
  assert.ok(stricter.length > 0, 'the battery tells servers apart');
});

/// What hyper reads and this reader refuses, each with its reason. There is nothing the other way round.
const STRICTER_THAN_HYPER = new Map([
  ['both length headers', 'RFC 9112, 6.1: it ought to be handled as an error; a proxy that believes the length sees another request'],
  ['chunked twice', 'RFC 9112, 6.1: a sender must not; who decodes once and who decodes twice see different bodies'],
  ['chunked behind an empty element', 'a proxy that does not know lists sees another transfer coding'],
  ['equal lengths in two headers', 'RFC 9110, 8.6 lets a recipient refuse them; one of them may be taken away on the way'],
  ['a chunk size with a space behind it', 'RFC 9112, 7.1 has none there; readers have differed about it'],
  ['a bare LF as a line end', 'RFC 9112, 2.2 allows it to a recipient; where the head ends is then a matter of opinion'],
  ['no host', 'RFC 9112, 3.2: must be answered with 400; hyper leaves it to the program above'],
  ['two hosts', 'the same'],
  ['a host with a path', 'the same: it is no valid Host'],
  ['a host with a user', 'the same'],
  ['a host with a space', 'the same'],
  ['an empty host', 'RFC 9110 allows it where there is no authority; here there always is one'],
  ['a target of another host', 'target and Host name two servers, and an app is chosen by one of them'],
  ['a fragment in the target', 'RFC 9112, 3.2: a target has none; hyper cuts it off'],
  ['a method in lower case', 'methods are case-sensitive, so this is one that the path does not have (405)'],
]);

test('what hyper refuses is refused here, too, and what only hyper reads is known', async (t) => {
  execFileSync('cargo', ['build', '-q', '-p', 'omnivox-server', '--example', 'hyper'], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  const server = await omnivox(t);
  const hyper = new Program(path.join(TARGET, 'debug/examples/hyper'), []);
  t.after(() => hyper.stop());
  const [, port] = await hyper.printed(/http:\/\/127\.0\.0\.1:(\d+)/);
  const stricter = [];
  for (const [what, request] of [...MALFORMED, ...SLOPPY]) {
    const [ours, theirs] = [await verdict(t, server.port, request), await verdict(t, Number(port), request)];
    assert.ok(!isServed(ours) || isServed(theirs), `${what}: hyper answers ${theirs}, omnivox ${ours}`);
    if (isServed(theirs) && !isServed(ours)) stricter.push(what);
  }
  assert.deepEqual(stricter.sort(), [...STRICTER_THAN_HYPER.keys()].sort());
});

test('what is sound is served by all', async (t) => {
  const server = await omnivox(t);
  for (const [what, start] of [['directly', async () => server], ['nginx', nginx], ['haproxy', haproxy]]) {
    const { port } = await start(t, server.port);
    const body = '{"channel":"sound","data":1}';
    const post = (headers, sent) => (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${sent}`;
    for (const request of [
      (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      post(`Content-Length: ${body.length}`, body),
      post('Transfer-Encoding: chunked', `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`),
    ]) assert.equal(await verdict(t, port, request), 200, `${what}: ${request('host')}`);
  }
});
