// The command line of the binary: publish, subscribe over each transport, settings, help; exit codes that scripts can use.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { basic, claims, secret, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { folder, program } from '../lib/programs.mjs';
import { raw } from '../lib/raw.mjs';

/// Runs `omnivox ARGS` against `server` with its output streams apart.
function cli(t, args, server) {
  const env = cleanEnvironment({ NO_COLOR: '1', ...(server && { OMNIVOX_URL: server.url }) });
  const started = program(t, BINARY, args, { env });
  started.out = '';
  started.child.stdout.on('data', (text) => { started.out += text; });
  return started;
}

async function ended(t, args, server) {
  const started = cli(t, args, server);
  return { code: (await started.ended).code, out: started.out, output: started.output };
}

for (const transport of ['ws', 'sse', 'poll']) {
  test(`subscribe --transport ${transport} prints what is published, one JSON object a line`, async (t) => {
    const server = await omnivox(t);
    const mark = await server.publish('general', 0);
    await server.publish('general', { text: 'missed' }, { event: 'chat' });
    const subscriber = cli(t, ['subscribe', 'general', '--transport', transport, '--since', mark, '--json'], server);
    await subscriber.printed(/missed/);
    const published = await ended(t, ['publish', 'general', '{"text":"live"}'], server);
    assert.equal(published.code, 0, published.output);
    await subscriber.printed(/live/);
    const messages = subscriber.out.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(messages.map(({ channel, data }) => [channel, data.text]), [['general', 'missed'], ['general', 'live']]);
  });
}

for (const transport of ['ws', 'sse', 'poll']) {
  test(`subscribe --pattern --transport ${transport} prints all that the pattern means`, async (t) => {
    const server = await omnivox(t);
    await server.publish('chat:a', 0);
    const mark = (await server.get('/v1/poll?pattern=chat:*&timeout=0')).json.last;
    await server.publish('chat:a', 'missed');
    await server.publish('news', 'other');
    const subscriber = cli(t, ['subscribe', '--pattern', 'chat:*', '--transport', transport, '--since', mark, '--json'], server);
    await subscriber.printed(/missed/);
    for (const [channel, data] of [['news', 'other'], ['chat:b', 'live']]) await server.publish(channel, data);
    await subscriber.printed(/live/);
    const messages = subscriber.out.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(messages.map(({ channel, data }) => [channel, data]), [['chat:a', 'missed'], ['chat:b', 'live']]);
  });
}

test('exit codes: refused, unreachable, mistyped', async (t) => {
  const together = await ended(t, ['subscribe', 'general', '--pattern', 'chat:*']);
  assert.equal(together.code, 2);
  assert.match(together.output, /--transport sse/);

  const server = await omnivox(t);
  assert.notEqual((await ended(t, ['publish', '', '1'], server)).code, 0);
  assert.notEqual((await ended(t, ['publish', 'general', '1'], { url: 'http://127.0.0.1:1' })).code, 0);
  const mistyped = await ended(t, ['publsh']);
  assert.equal(mistyped.code, 2);
  assert.match(mistyped.output, /publish/);
});

test('help and version speak on stdout', async (t) => {
  for (const args of [['--help'], ['--version'], ['help', 'serve'], ['completions', 'bash']]) {
    const { code, out } = await ended(t, args);
    assert.equal(code, 0, args.join(' '));
    assert.match(out, /omnivox/);
  }
});

test('a settings file with a mistake is refused with the line and what was meant', async (t) => {
  const file = path.join(folder(t), 'omnivox.toml');
  writeFileSync(file, '[limits]\nbody_byte_max = 10\n');
  for (const command of ['serve', 'check']) {
    const { code, output } = await ended(t, [command, '--config', file]);
    assert.notEqual(code, 0);
    assert.match(output, /omnivox\.toml:2.*[^]*did you mean `body_bytes_max`/);
  }
});

test('a port that is taken is said in one sentence', async (t) => {
  const server = await omnivox(t);
  const { code, output } = await ended(t, ['dev', '--port', `${server.port}`]);
  assert.notEqual(code, 0);
  assert.match(output, new RegExp(`${server.port}`));
  assert.doesNotMatch(output, /panicked/);
});

test('flags of dev win over the environment', async (t) => {
  const taken = await omnivox(t);
  const server = await omnivox(t, { env: { OMNIVOX_SERVER_LISTEN: `127.0.0.1:${taken.port}` } });
  assert.notEqual(server.port, taken.port);
  assert.equal((await server.get('/health')).status, 200);
});

test('dev answers to the names of loopback whatever names are added, and to no others', async (t) => {
  const status = async (server, host) => {
    const peer = await raw(t, server.port);
    peer.send(`GET /health HTTP/1.1\r\nHost: ${host}:${server.port}\r\nConnection: close\r\n\r\n`);
    await peer.closed();
    return Number(peer.text.split(' ')[1]);
  };
  for (const [hosts, added] of [['mine.test', 200], ['', 403]]) {
    const server = await omnivox(t, { flags: ['--server-hosts', hosts] });
    const found = [];
    for (const host of ['localhost', '127.0.0.1', 'mine.test', 'evil.test']) found.push(await status(server, host));
    assert.deepEqual(found, [200, 200, added, 403], `--server-hosts '${hosts}'`);
  }
});

test('dev refuses an address that other machines reach', async (t) => {
  const { code, output } = await ended(t, ['dev', '--host', '0.0.0.0', '--port', '0']);
  assert.notEqual(code, 0);
  assert.match(output, /0\.0\.0\.0|loopback/);
});

test('revoke ends a user, a session and a token, and says so', async (t) => {
  const key = secret();
  const server = await omnivox(t, { settings: `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n` });
  const revoke = (args, shown = `shop:${key}`) => {
    const started = program(t, BINARY, ['revoke', ...args], { env: cleanEnvironment({ OMNIVOX_URL: server.url, OMNIVOX_API_KEY: shown }) });
    started.out = '';
    started.child.stdout.on('data', (text) => { started.out += text; });
    return started.ended.then(({ code }) => ({ code, out: started.out, output: started.output }));
  };
  const come = (more) => connect(t, server.ws, { headers: { authorization: `Bearer ${token(key, claims(more))}` } });
  const sessionOf = async (user) => (await server.get(`/v1/connections?user=${user}`, { authorization: basic('shop', key) })).json.connections[0].session;
  for (const [what, user] of [['user', 'ana'], ['session', 'bob'], ['token', 'eve']]) {
    const socket = await come({ sub: user, jti: `id-of-${user}` });
    await socket.subscribe('a');
    const name = { user, session: what === 'session' && await sessionOf(user), token: `id-of-${user}` }[what];
    const { code, out, output } = await revoke(what === 'token' ? [what, name, '--json'] : [what, name]);
    assert.equal(code, 0, output);
    assert.equal(out, what === 'token' ? '{"ok":true}\n' : `${what} ${name} is revoked\n`);
    assert.equal((await within(socket.closed, `${what} to be ended`)).code, 4403);
  }
  const again = await server.get('/v1/history?channel=a', { authorization: `Bearer ${token(key, claims({ sub: 'eve', jti: 'id-of-eve' }))}` });
  assert.equal(again.status, 401);

  const wrong = await revoke(['user', 'ana'], `shop:${secret()}`);
  assert.equal(wrong.code, 4, wrong.output);
  assert.doesNotMatch(wrong.output, new RegExp(key));
  assert.equal((await revoke(['user', ''])).code, 4);
  assert.equal((await revoke(['usr', 'ana'])).code, 2);
  assert.equal((await revoke(['user', 'ana'], 'no key')).code, 2);
  const { out } = await ended(t, ['completions', 'bash']);
  assert.match(out, /revoke/);
});
