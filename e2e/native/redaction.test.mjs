// No secret in any output: every kind of credential over every dialect, right and wrong ones, and those that the server shows to back ends, which
// answer or fail in every way; and then every byte that it wrote is searched: its log, its answers, its metrics and its traces.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import { CLOSE, HANG, backend } from '../lib/backend.mjs';
import { connect } from '../lib/clients.mjs';
import { collector } from '../lib/collector.mjs';
import { basic, claims, hmac, secret, token } from '../lib/credentials.mjs';
import { until, within } from '../lib/inbox.mjs';
import { BINARY, omnivox } from '../lib/omnivox.mjs';
import { receiver } from '../lib/receiver.mjs';

test('logs, errors, metrics and traces hold no credential', async (t) => {
  const key = secret();
  const further = secret();
  const relay = secret();
  const publisher = secret();
  const collecting = secret();
  const to = await collector(t);
  const backEnd = Object.fromEntries(['asking', 'asked at', 'telling', 'told at', 'told with', 'telling nobody', 'nobody is told with'].map((what) => [what, secret()]));
  // One answer is good, one is none of ours, and then it fails in every way.
  const faults = [{ result: 1 }, { raw: 'nonsense' }, { raw: '', status: 401 }, { raw: '', status: 503 }, CLOSE, HANG];
  const asked = await backend(t, backEnd.asking, () => faults.shift() ?? {});
  const told = await receiver(t);
  told.answers = [503, 204, 410];
  const settings = `
[server]
listen = ["127.0.0.1:0"]

[log]
level = "debug"

[turn]
udp = ["127.0.0.1:0"]
secrets = ["${relay}"]

[traces]
endpoint = "${to.url}"
headers = ["authorization=Bearer ${collecting}"]
batch_pause_ms = 20

[[app]]
id = "shop"
secret = "${key}"
allowed_origins = ["https://page.test"]
mercure_publisher_secrets = ["${publisher}"]

[[api_key]]
id = "writer"
secret = "${further}"
allow = ["*=publish"]

[[hook]]
name = "rules"
events = ["call"]
url = "${asked.url}?key=${backEnd['asked at']}"
secrets = ["${backEnd.asking}"]
retries = 0
timeout_ms = 300

[[webhook]]
id = "audit"
url = "${told.url}/hook?key=${backEnd['told at']}"
events = ["message"]
secrets = ["${backEnd.telling}"]
headers = ["Authorization: Bearer ${backEnd['told with']}"]
batch_delay_ms = 1

[[webhook]]
id = "nobody"
url = "http://127.0.0.1:1/"
events = ["message"]
secrets = ["${backEnd['telling nobody']}"]
headers = ["X-Key: ${backEnd['nobody is told with']}"]
batch_delay_ms = 1
retry_for_ms = 1
`;
  const server = await omnivox(t, { settings });
  const hidden = new Map([['the secret', key], ['a key\'s secret', further], ['the relay\'s secret', relay], ['a publisher\'s secret', publisher], ['the collector\'s header', collecting]]);
  Object.entries(backEnd).forEach(([what, value]) => hidden.set(`the back end's secret (${what})`, value));
  const hide = (what, value) => { hidden.set(what, value); return value; };
  const answers = [];
  const ask = async (method, target, body, headers = {}) => {
    const { text, status, headers: answered, json } = await server.request(method, target, body, headers);
    answers.push([`${method} ${target.split('?')[0]}`, `${text}\n${JSON.stringify([...answered])}`]);
    return { status, json };
  };
  const history = '/v1/history?channel=a';
  const shown = (what, value) => [
    [what, value],
    [`a wrong ${what}`, `${value.slice(0, -6)}AAAAAA`],
  ];

  const base = token(key, claims({ jti: 'one' }));
  for (const [what, value] of shown('token', base)) {
    hide(what, value);
    const cookie = { cookie: `omnivox_token=${value}`, origin: 'https://page.test' };
    await ask('GET', history, undefined, { authorization: `Bearer ${value}` });
    await ask('GET', history, undefined, cookie);
    await ask('GET', history, undefined, { cookie: cookie.cookie, origin: 'https://evil.test' });
    await ask('GET', `${history}&ticket=${value}`);
    // Nobody should, and then it must not show either.
    await ask('GET', `${history}&token=${value}&access_token=${value}`);
    await ask('GET', `/nowhere/${value}`);
    await ask('GET', '/.well-known/mercure?topic=a&authorization=' + value.slice(0, -1));
    await ask('GET', '/.well-known/mercure?topic=a', undefined, { cookie: `mercureAuthorization=${value.slice(0, -1)}` });
    const socket = await connect(t, server.ws);
    const answer = await socket.call({ type: 'connect', token: value });
    answers.push(['first message', JSON.stringify(answer)]);
    const offered = await connect(t, server.ws, { protocols: ['omnivox', `omnivox.token.${value}`] }).catch((error) => error);
    answers.push(['subprotocol', String(offered.message ?? offered.ws.protocol)]);
    const client = io(server.url, { auth: { token: value }, transports: ['polling', 'websocket'], reconnection: false, forceNew: true });
    t.after(() => client.close());
    const came = await within(new Promise((resolve) => { client.on('connect', () => resolve('')); client.on('connect_error', resolve); }), 'Socket.IO');
    answers.push(['socket.io', String(came.message ?? '') + JSON.stringify(came.data ?? null)]);
    if (client.io.engine?.id) hide(`the sid with ${what}`, client.io.engine.id);
  }
  for (const [what, value] of shown('key', further)) {
    await ask('POST', '/v1/publish', { channel: 'a', data: 1 }, { authorization: basic('writer', hide(what, value)) });
  }
  const signature = hmac('shop', key, 'GET', history);
  hide('the signature', signature.split('v1=')[1]);
  await ask('GET', history, undefined, { authorization: signature });
  await ask('GET', history, undefined, { authorization: signature });
  for (let draw = 0; draw < 2; draw += 1) {
    const { json } = await server.post('/v1/ticket', undefined, { authorization: `Bearer ${base}` });
    hide(`ticket ${draw}`, json.ticket);
    await ask('GET', `${history}&ticket=${json.ticket}`);
    await ask('GET', `${history}&ticket=${json.ticket}`);
    await ask('GET', `/v1/sse?channel=a&ticket=${json.ticket}`);
  }
  for (let fault = faults.length; fault >= 0; fault -= 1) await ask('POST', '/v1/call', { method: 'x' }, { authorization: `Bearer ${base}` });
  const owner = { authorization: basic('shop', key) };
  for (let number = 0; number < 3; number += 1) {
    await ask('POST', '/v1/publish', { channel: 'a', data: number }, owner);
    await until(() => told.requests.length > number, `request ${number} to the receiver`);
  }
  const { headers: { authorization } } = await told.requests.next();
  assert.equal(authorization, `Bearer ${backEnd['told with']}`);
  await ask('POST', '/v1/webhooks/test', { webhook: 'audit' }, owner);
  await server.printed(/a webhook is given up webhook="nobody"/);
  await ask('GET', '/v1/webhooks/deliveries', undefined, owner);
  await ask('GET', '/metrics');
  const ice = await server.get('/v1/ice?channel=a', { authorization: `Bearer ${base}` });
  for (const { credential } of ice.json.iceServers ?? []) if (credential) hide('the relay credential', credential);
  for (const authorization of ['Bearer', `Digest ${base}`, `Basic ${base}`, `Omnivox-HMAC ${base}`]) await ask('GET', history, undefined, { authorization });
  await ask('GET', '/metrics', undefined, { authorization: basic('shop', key) });
  assert.equal((await ask('POST', '/v1/revoke', { token: 'one' }, { authorization: basic('shop', key) })).status, 200);
  await ask('GET', history, undefined, { authorization: `Bearer ${base}` });
  // A reload names what has changed, and a list of secrets is no exception.
  const file = server.child.spawnargs.at(-1);
  writeFileSync(file, readFileSync(file, 'utf8').replace(`secrets = ["${relay}"]`, `secrets = ["${hide('the relay\'s new secret', secret())}"]`));
  server.child.kill('SIGHUP');
  await server.printed(/turn\.secrets/);
  const check = (what, status, pattern) => {
    const { stdout, stderr, ...ended } = spawnSync(BINARY, ['check', '--config', file], { encoding: 'utf8' });
    answers.push([`omnivox check, ${what}`, stdout + stderr]);
    assert.equal(ended.status, status, stderr);
    assert.match(stdout + stderr, pattern);
  };
  check('as it is', 0, /\[\[webhook\]\]/);
  // What is wrong is named and not repeated, by the server that keeps its settings and by whoever checks them.
  const right = readFileSync(file, 'utf8');
  const wrong = hide('a wrong secret', '0123456789abcdef'.repeat(4));
  for (const [what, from, by, pattern] of [
    ['a hook\'s secret', `secrets = ["${backEnd.asking}"]`, `secrets = ["${wrong}"]`, /\[\[hook\]\] rules: `secrets` can be guessed/],
    ['a short one', `secrets = ["${backEnd.asking}"]`, `secrets = ["${hide('a short secret', 'x7Qp2mRt9w')}"]`, /\[\[hook\]\] rules/],
    ['a webhook\'s', `secrets = ["${backEnd.telling}"]`, `secrets = ["${wrong}"]`, /\[\[webhook\]\] audit: `secrets` can be guessed/],
    ['a header', 'Authorization: Bearer', 'Authorization Bearer', /`headers`: one is no header/],
    ['an address', `url = "${told.url}/hook`, `url = "ftp://ana:${hide('a password', secret())}@127.0.0.1/hook`, /`url`: /],
    ['an address of a hook', `url = "${asked.url}`, `url = "http://ana:${hide('another password', secret())}@127.0.0.1/`, /`url`/],
  ]) {
    assert.ok(right.includes(from), from);
    writeFileSync(file, right.replace(from, by));
    check(what, 2, pattern);
    const before = server.output.split('the settings were not taken over').length;
    server.child.kill('SIGHUP');
    await until(() => server.output.split('the settings were not taken over').length > before, `a refusal of ${what}`);
  }
  await server.stop();
  const seen = to.requests.map(({ url, body }) => `${url} ${body}`);
  assert.ok(seen.join('').includes('POST /v1/publish') && to.requests.every(({ headers }) => headers.authorization === `Bearer ${collecting}`));
  seen.forEach((text, number) => answers.push([`the collector, request ${number}`, text]));

  assert.ok(server.output.length > 200, 'the log at its most talkative says something');
  for (const [what, value] of hidden) {
    assert.ok(value.length >= 10, what);
    // The last part of a token is its signature: without that the rest is worth nothing, so that is what counts.
    const parts = value.split('.').length === 3 ? [value, value.split('.')[2]] : [value];
    for (const part of parts) {
      assert.ok(!server.output.includes(part), `the log shows ${what}`);
      for (const [where, text] of answers) {
        assert.ok(!text.includes(part), `an answer to ${where} shows ${what}`);
      }
    }
  }
});
