// Back ends that are slow, down, wrong or too busy; the breaker; remembered answers; new settings while clients are there.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { CLOSE, HANG, backend, hook } from '../lib/backend.mjs';
import { connect } from '../lib/clients.mjs';
import { claims, secret, token } from '../lib/credentials.mjs';
import { until } from '../lib/inbox.mjs';
import { BINARY, cleanEnvironment, omnivox } from '../lib/omnivox.mjs';
import { folder, freePort } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

const publish = (server, channel = 'a') => server.post('/v1/publish', { channel, data: 1 });

test('each failure has words that name the setting, and a metric', async (t) => {
  const answers = {
    slow: [HANG, /it took too long; setting timeout_ms/],
    garbage: [{ raw: 'nonsense' }, /its answer is not understood/],
    misspelt: [{ raw: '{"alow":true}' }, /its answer is not understood/],
    large: [{ raw: JSON.stringify({ allow: true, reason: 'x'.repeat(3000) }) }, /its answer is not understood/],
    missing: [{ status: 404 }, /it failed; setting url/],
    redirect: [{ status: 302 }, /it can't be reached; setting url/],
    broken: [{ status: 500 }, /it failed; setting url/],
    closes: [CLOSE, /it can't be reached; setting url/],
  };
  for (const [on, allowed] of [['deny', false], ['allow', true]]) {
    const asked = await backend(t, secret(), ({ channels }) => answers[channels[0]][0]);
    const more = `timeout_ms = 300\nanswer_bytes_max = 2000\nbreaker_failures = 1000\nbackoff_ms = 1\non_failure = "${on}"`;
    const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['publish'], more)}` });
    for (const [channel, [, words]] of Object.entries(answers)) {
      const { status, text } = await publish(server, channel);
      assert.equal(status, allowed ? 200 : 503, `${channel}: ${text}`);
      if (!allowed) assert.match(text, words, channel);
      assert.doesNotMatch(text, new RegExp(String(asked.port)), 'clients are not told where it is');
    }
    assert.equal(await server.metric('omnivox_hook_failures_total'), Object.keys(answers).length);
    // What is passing is tried once more: two tries of `broken` and of `closes`.
    assert.equal(await server.metric('omnivox_hook_retries_total'), 2);
    assert.match(server.output, /a hook gave no answer.*timeout_ms/);
    assert.doesNotMatch(server.output, new RegExp(asked.secret), 'no secret in the log');
  }
});

test('a question that nobody could take is asked again under the same id', async (t) => {
  let tries = 0;
  const asked = await backend(t, secret(), () => { tries += 1; return tries < 3 ? { status: tries === 1 ? 503 : 429 } : { allow: true }; });
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['publish'], 'retries = 2\nbackoff_ms = 5')}` });
  assert.equal((await publish(server)).status, 200);
  const ids = asked.asked.drain().map(({ id }) => id);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
  assert.equal((await publish(server)).status, 200);
  assert.notEqual((await asked.next('publish')).id, ids[0]);
});

test('the breaker opens when the back end is down, and closes when it is back', async (t) => {
  const port = await freePort();
  const down = { url: `http://127.0.0.1:${port}/hooks`, secret: secret() };
  const more = 'retries = 0\nbreaker_failures = 3\nbreaker_pause_ms = 400';
  const server = await omnivox(t, { settings: `${OPEN}${hook(down, ['publish'], more)}` });
  for (let failure = 0; failure < 3; failure += 1) assert.match((await publish(server)).text, /can't be reached/);
  assert.match((await publish(server)).text, /left alone for a while; setting breaker_failures/);
  assert.equal(await server.metric('omnivox_hook_breaker_state'), 2);
  assert.equal(await server.metric('omnivox_hook_breaker_openings_total'), 1);
  // A connection that nobody accepts counts as asked; what the breaker refused does not.
  const asked = await backend(t, down.secret, () => ({ allow: true }), port);
  await until(async () => (await publish(server)).status === 200, 'the back end is asked again');
  assert.equal(await server.metric('omnivox_hook_breaker_state'), 0);
  assert.ok(asked.count >= 1);
  assert.match(server.output, /a hook failed too often.*\n(.*\n)*.*a hook answers again/);
});

test('too many questions at once wait, and more than that are refused', async (t) => {
  const asked = await backend(t, secret(), () => HANG);
  const more = 'timeout_ms = 20000\nin_flight_max = 2\nqueue_max = 3';
  const server = await omnivox(t, { settings: `${OPEN}${hook(asked, ['publish'], more)}` });
  const waiting = Array.from({ length: 5 }, () => publish(server));
  await until(async () => await server.metric('omnivox_hook_queued') === 3, 'three wait');
  assert.equal(await server.metric('omnivox_hook_in_flight'), 2);
  const refused = await publish(server);
  assert.equal(refused.status, 503);
  assert.match(refused.text, /settings in_flight_max and queue_max/);
  assert.equal(await server.metric('omnivox_hook_queue_refusals_total'), 1);
  asked.answer = () => ({ allow: true });
  asked.release({ allow: true });
  for (const { status, text } of await Promise.all(waiting)) assert.equal(status, 200, text);
  assert.equal(await server.metric('omnivox_hook_queued'), 0);
});

test('answers are remembered for who asks the same, and no longer than both sides want', async (t) => {
  const key = secret();
  const app = `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n`;
  const asked = await backend(t, secret(), ({ event, channel }) => {
    if (event === 'connect') return { allow: true };
    return { allow: !channel.endsWith('no'), ...(channel.startsWith('fresh') ? { cache_ms: 0 } : {}) };
  });
  const server = await omnivox(t, { settings: `${app}${hook(asked, ['connect', 'subscribe'], 'cache_ms = 600000\ncache_entries_max = 3')}` });
  const tokens = ['ana', 'ben'].map((sub) => token(key, claims({ sub, channels: {} })));
  const poll = async (channel, shown) => {
    const before = asked.count;
    const { status } = await server.get(`/v1/poll?channel=${channel}&timeout=0`, { authorization: `Bearer ${shown}` });
    return [status, asked.count - before];
  };
  const [ana, ben] = tokens;
  assert.deepEqual(await poll('a', ana), [200, 2]);
  assert.deepEqual(await poll('a', ana), [200, 0]);
  assert.deepEqual(await poll('no', ana), [403, 1]);
  assert.deepEqual(await poll('no', ana), [403, 0]);
  assert.deepEqual(await poll('fresh', ana), [200, 1]);
  assert.deepEqual(await poll('fresh', ana), [200, 1]);
  // Somebody else is somebody else; and only three answers are kept.
  assert.deepEqual(await poll('a', ben), [200, 2]);
  assert.equal((await poll('b', ben))[1], 1);
  assert.equal((await poll('a', ana))[1], 2, 'the oldest made room');
  assert.ok(await server.metric('omnivox_hook_remembered_total') > 0);
});

test('whom a connect hook let in stays as long as it is asked at the same place', async (t) => {
  const file = path.join(folder(t), 'omnivox.toml');
  const key = secret();
  const app = `[server]\nlisten = ["127.0.0.1:0"]\n[[app]]\nid = "shop"\nsecret = "${key}"\n`;
  const asked = await backend(t, secret(), ({ credential }) => (credential.verified ? {} : { allow: true, user: 'ben', channels: { '*': ['subscribe'] } }));
  const written = (more, events = ['connect']) => `${app}${hook(asked, events, more)}`;
  const server = await omnivox(t, { settings: written(''), settingsFile: file });
  const known = await connect(t, server.ws, { headers: { authorization: `Bearer ${token(key, claims({ channels: { '*': ['subscribe'] } }))}` } });
  const guests = await Promise.all([1, 2].map(() => connect(t, server.ws)));
  for (const guest of guests) assert.equal((await guest.subscribe('a')).type, 'subscribed');
  const change = async (settings, said = 'the settings were read again') => {
    const before = server.output.split(said).length;
    writeFileSync(file, settings);
    server.child.kill('SIGHUP');
    await until(() => server.output.split(said).length > before, 'a reload');
  };
  await change(written('timeout_ms = 3000').replace('"test"', '"other"'));
  for (const guest of guests) assert.equal((await guest.subscribe('b')).type, 'subscribed', 'it has only another name');
  const { json } = await server.post('/v1/ticket');
  await change(written('', ['publish']));
  for (const guest of guests) assert.equal((await guest.closed).code, 4401, 'it is no longer asked about connects');
  const late = await server.get(`/v1/poll?channel=a&timeout=0&ticket=${json.ticket}`);
  assert.deepEqual([late.status, /hook that let it in is no longer there/.test(late.text)], [401, true], late.text);
  assert.equal((await known.subscribe('c')).type, 'subscribed', 'a token needs no hook');
});

test('hooks come, change and go with new settings, and no client is dropped', async (t) => {
  const file = path.join(folder(t), 'omnivox.toml');
  const asked = await backend(t, secret(), ({ channels }) => ({ allow: channels[0] !== 'no' }));
  const server = await omnivox(t, { settings: OPEN, settingsFile: file });
  const socket = await connect(t, server.ws);
  await socket.subscribe('a');
  const attempt = async (channel) => (await socket.call({ type: 'publish', channel, data: 1 })).type !== 'error';
  let times = 0;
  const change = async (settings, said = 'the settings were read again') => {
    const before = server.output.split(said).length;
    writeFileSync(file, settings);
    times += 1;
    server.child.kill('SIGHUP');
    await until(() => server.output.split(said).length > before, `reload ${times}`);
  };
  assert.deepEqual([await attempt('no'), asked.count], [true, 0]);
  await change(`${OPEN}${hook(asked, ['publish'])}`);
  assert.deepEqual([await attempt('no'), await attempt('a'), asked.count], [false, true, 2]);
  await change(`${OPEN}${hook(asked, ['publish'], 'channels = "other"')}`);
  assert.deepEqual([await attempt('no'), asked.count], [true, 2]);
  // A weak secret changes nothing: the hook stays as it was.
  await change(`${OPEN}${hook({ url: asked.url, secret: 'short' }, ['publish'])}`, 'the settings were not taken over');
  assert.match(server.output, /the secret has 5 bytes/);
  assert.deepEqual([await attempt('other'), asked.count], [true, 3]);
  await change(OPEN);
  assert.deepEqual([await attempt('other'), asked.count], [true, 3]);
  assert.equal(socket.ws.readyState, socket.ws.OPEN);
});

test('`omnivox check` warns of plain http to elsewhere, and of a connect that is let in on failure', (t) => {
  const file = path.join(folder(t), 'omnivox.toml');
  const run = (more, url = 'http://10.0.0.1/hook') => {
    writeFileSync(file, `${OPEN}${hook({ url, secret: secret() }, ['connect'], more)}`);
    return spawnSync(BINARY, ['check', '--config', file], { encoding: 'utf8', env: cleanEnvironment() });
  };
  const plain = run('');
  assert.equal(plain.status, 0, plain.stderr);
  assert.match(plain.stderr, /warning: \[\[hook\]\] test: its `url` is plain http to another machine/);
  assert.match(run('on_failure = "allow"').stderr, /whoever can make the back end fail is let in/);
  for (const url of ['http://127.0.0.1:1/hook', 'https://example.com/hook']) assert.doesNotMatch(run('', url).stderr, /warning: \[\[hook\]\]/);
});

test('commands wait behind one that a back end holds up, in their order and as many as may', async (t) => {
  const asked = await backend(t, secret(), ({ data }) => (data === 'held' ? HANG : {}));
  const server = await omnivox(t, { settings: `${OPEN}[limits]\ncommands_in_flight_max = 7\n${hook(asked, ['publish'], 'timeout_ms = 15000')}` });
  const socket = await connect(t, server.ws);
  const answers = [];
  const heard = [];
  socket.ws.on('message', (text) => {
    const { ref, type, channel, data } = JSON.parse(text);
    if (ref) answers.push(`${ref} ${type}`);
    if (type === 'message') heard.push([channel, data]);
  });
  socket.send({ type: 'publish', channel: 'a', data: 'held', ref: 1 });
  await asked.next('publish');
  // Two that need no back end in a row, and one behind them that the back end holds up again.
  socket.send({ type: 'subscribe', channel: 'a', ref: 2 });
  socket.send({ type: 'subscribe', channel: 'b', ref: 3 });
  socket.send({ type: 'publish', channel: 'b', data: 'held', ref: 4 });
  for (const ref of [5, 6, 7]) socket.send({ type: 'publish', channel: 'a', data: ref, ref });
  for (const ref of [8, 9]) {
    socket.send({ type: 'publish', channel: 'a', data: ref, ref });
    const { type, code, message } = await socket.next({ ref });
    assert.deepEqual([type, code], ['error', 'limit_exceeded']);
    assert.match(message, /limits.commands_in_flight_max/);
  }
  assert.equal(asked.count, 1, 'what is refused lets nothing else begin');
  asked.release();
  await asked.next('publish');
  await socket.next({ ref: 3 });
  assert.deepEqual(answers, ['8 error', '9 error', '1 published', '2 subscribed', '3 subscribed']);
  assert.equal(asked.count, 2);
  asked.release();
  await socket.next({ ref: 7 });
  assert.deepEqual(answers.slice(5), ['4 published', '5 published', '6 published', '7 published']);
  await until(() => heard.length >= 4, 'it hears what it published behind its subscribes');
  assert.deepEqual(heard, [['b', 'held'], ['a', 5], ['a', 6], ['a', 7]]);
});
