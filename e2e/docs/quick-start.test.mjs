// The command lines of the quick start, word for word in a shell, and its two programs.
// parts: curl

import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { blocks } from '../lib/documents.mjs';
import { Inbox, until } from '../lib/inbox.mjs';
import { BINARY, ROOT, cleanEnvironment } from '../lib/omnivox.mjs';
import { folder, freePort, program } from '../lib/programs.mjs';

const PAGE = 'docs/quick-start.md';
const commands = blocks(PAGE, 'sh');

/// The only block that has these words.
function command(words) {
  const found = commands.filter((text) => text.includes(words));
  assert.equal(found.length, 1, `one block with ${words}`);
  return found[0];
}

/// A shell in which `omnivox` is the built program and its server the one under test.
function shell(t, text, port, cwd = folder(t)) {
  const env = cleanEnvironment({ NO_COLOR: '1', PATH: `${path.dirname(BINARY)}:${process.env.PATH}`, OMNIVOX_URL: `http://127.0.0.1:${port}` });
  const lines = text.trim().replaceAll('localhost:8080', `localhost:${port}`).replaceAll('curl ', 'curl --silent --show-error ').split('\n');
  // The last one takes the shell's place, so that a signal ends it.
  const last = lines.pop().replace(/^(omnivox|curl)/, 'exec $1');
  return program(t, 'sh', ['-e', '-c', [...lines, last].join('\n')], { cwd, env });
}

test('every command is tested here', () => {
  const tested = ['cargo build', 'omnivox dev', 'subscribe general\n', 'curl -N', '/poll?', 'publish general', '/publish', '--since earliest', 'init', 'serve', 'token'];
  assert.equal(commands.length, tested.length);
  for (const words of tested) assert.ok(commands.some((text) => text.includes(words)), words);
});

test('four listeners hear the command line and curl; Socket.IO speaks and hears', async (t) => {
  const port = await freePort();
  const server = shell(t, command('omnivox dev').replace('dev', `dev --port ${port}`), port);
  await server.printed(/is ready: http/);
  const cli = shell(t, command('subscribe general\n'), port);
  const stream = shell(t, command('curl -N'), port);
  await stream.printed(/retry/);
  const seen = new Inbox();
  const [page] = blocks(PAGE, 'js');
  const there = page.replace('localhost:8080', `127.0.0.1:${port}`);
  const ws = new Function('WebSocket', 'console', `${there}; return ws;`)(WebSocket, { log: (message) => seen.push(message) });
  t.after(() => ws.close());
  await seen.next(({ type }) => type === 'subscribed');
  const poll = shell(t, command('/poll?'), port);

  const published = shell(t, command('publish general'), port);
  assert.equal((await published.ended).code, 0, published.output);
  await stream.printed(/^data: .*hello, everybody/m);
  await seen.next(({ data }) => data?.text === 'hello, everybody');
  assert.equal((await poll.ended).code, 0);
  assert.match(JSON.parse(poll.output).events[0].data.text, /hello/);

  const posted = shell(t, command('/publish'), port);
  assert.equal((await posted.ended).code, 0, posted.output);
  await stream.printed(/^data: .*from curl/m);

  const home = folder(t);
  symlinkSync(path.join(ROOT, 'e2e/node_modules'), path.join(home, 'node_modules'));
  writeFileSync(path.join(home, 'client.mjs'), blocks(PAGE, 'javascript')[0].replace('localhost:8080', `127.0.0.1:${port}`));
  const socketIo = program(t, process.execPath, ['client.mjs'], { cwd: home });
  await socketIo.printed(/from Socket\.IO/);
  await stream.printed(/^data: .*from Socket\.IO/m);
  await seen.next(({ data }) => data?.text === 'from Socket.IO');

  const again = shell(t, command('--since earliest'), port);
  assert.equal((await again.ended).code, 0, again.output);
  assert.match(again.output, /hello, everybody/);

  // Nothing tells when the command line has subscribed, but that it hears.
  await until(async () => { await shell(t, command('/publish'), port).ended; return cli.output.includes('from curl'); }, 'the command line hears');
  await shell(t, command('publish general'), port).ended;
  await cli.printed(/hello, everybody/);
});

test('own settings: init, check, serve, token, explain', async (t) => {
  const home = folder(t);
  const port = await freePort();
  const init = shell(t, command('init'), port, home);
  assert.equal((await init.ended).code, 0, init.output);
  const server = shell(t, command('serve').trim() + ` --server-listen 127.0.0.1:${port}`, port, home);
  await server.printed(/listening/);
  const refused = await fetch(`http://127.0.0.1:${port}/v1/history?channel=chat:tea`);
  assert.equal(refused.status, 401);
  const token = shell(t, command('token'), port, home);
  assert.equal((await token.ended).code, 0, token.output);
  assert.match(token.output, /publish +yes/);
  assert.match(token.output, /"text":"with a token"/);
  const answer = await fetch(`http://127.0.0.1:${port}/ws`);
  assert.equal(answer.status, 404, 'serve has only the paths below /v1 and those of its settings');
});
