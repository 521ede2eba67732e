// Credentials against the built server: every entrance, every attack on them, and what back ends do with the connections of others.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { connect, rawStream } from '../lib/clients.mjs';
import { basic, claims, hmac, secret, signedToken, token } from '../lib/credentials.mjs';
import { within } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { folder } from '../lib/programs.mjs';

const KEY = secret();
const OTHER = secret();
const LIMITED = secret();

const SETTINGS = `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "shop"
secret = "${KEY}"
allowed_origins = ["https://page.test"]

[[app]]
id = "blog"
secret = "${OTHER}"
allowed_origins = ["*"]

[[api_key]]
app = "shop"
id = "writer"
secret = "${LIMITED}"
allow = ["news:*=publish"]
`;

const bearer = (value) => ({ authorization: `Bearer ${value}` });
const manager = { authorization: basic('shop', KEY) };
const page = (more) => ({ origin: 'https://page.test', ...more });

/// Asks for a channel's history and gives the status and the error's message.
async function ask(server, headers, target = '/v1/history?channel=a') {
  const { status, json } = await server.get(target, headers);
  return { status, code: json.error?.code, message: json.error?.message ?? '' };
}

test('every entrance leads to the same user', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const good = token(KEY);
  assert.equal((await ask(server, bearer(good))).status, 200);
  assert.equal((await ask(server, { cookie: `omnivox_token=${good}`, ...page() })).status, 200);
  assert.equal((await ask(server, { authorization: hmac('shop', KEY, 'GET', '/v1/history?channel=a') })).status, 200);
  const entrances = {
    header: { headers: bearer(good) },
    cookie: { headers: { cookie: `omnivox_token=${good}` }, origin: 'https://page.test' },
    subprotocol: { protocols: ['omnivox', `omnivox.token.${good}`] },
  };
  for (const [name, options] of Object.entries(entrances)) {
    const socket = await connect(t, server.ws, options);
    assert.equal((await socket.subscribe('a')).type, 'subscribed', name);
    if (name === 'subprotocol') assert.equal(socket.ws.protocol, 'omnivox', 'the token is not said back');
  }
  const socket = await connect(t, server.ws);
  assert.deepEqual((await socket.call({ type: 'connect', token: good })).user, 'ana');
});

test('a ticket works once, whichever way it is shown', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const draw = async () => {
    const { status, json, headers } = await server.post('/v1/ticket', undefined, bearer(token(KEY)));
    assert.equal(status, 200);
    assert.match(json.ticket, /^ovt_[\w-]{43}$/);
    assert.ok(json.expires_in_ms <= 30_000);
    assert.equal(headers.get('cache-control'), 'no-store');
    return json.ticket;
  };
  const socketTicket = await draw();
  const socket = await connect(t, `${server.ws}?ticket=${socketTicket}`);
  assert.equal((await socket.subscribe('a')).type, 'subscribed');
  const streamTicket = await draw();
  const { response } = await rawStream(t, `${server.url}/v1/sse?channel=a&ticket=${streamTicket}`);
  assert.equal(response.status, 200);
  const first = await connect(t, server.ws);
  const messageTicket = await draw();
  assert.equal((await first.call({ type: 'connect', ticket: messageTicket })).type, 'connected');
  for (const used of [socketTicket, streamTicket, messageTicket, 'ovt_x', `ovt_${'A'.repeat(43)}`]) {
    const refused = await ask(server, {}, `/v1/history?channel=a&ticket=${used}`);
    assert.equal(refused.status, 401);
    assert.match(refused.message, /ticket/);
    assert.equal((await server.get(`/v1/sse?channel=a&ticket=${used}`)).status, 401);
  }
  assert.equal((await server.post('/v1/ticket')).status, 401, 'nobody gets a ticket for nothing');
  const bought = await server.post(`/v1/ticket?ticket=${await draw()}`);
  assert.deepEqual([bought.status, bought.json.error.code], [401, 'unauthorized'], 'a ticket buys no other');
  assert.match(bought.json.error.message, /send the token or key itself/);
  const both = await draw();
  const statuses = await Promise.all(Array.from({ length: 8 }, () => ask(server, {}, `/v1/history?channel=a&ticket=${both}`)));
  assert.equal(statuses.filter(({ status }) => status === 200).length, 1, 'eight at the same time: one of them wins');
});

test('attacks on tokens are refused with the reason', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  const file = path.join(folder(t), 'key.pem');
  writeFileSync(file, pem);
  const server = await omnivox(t, { settings: SETTINGS.replace('id = "shop"', `id = "shop"\ntoken_keys = ["${file}"]`) });
  const now = Math.floor(Date.now() / 1000);
  const [head, body, signature] = token(KEY).split('.');
  const none = Buffer.from('{"alg":"none"}').toString('base64url');
  const manages = { channels: { '*': ['manage', 'history'] } };
  assert.equal((await ask(server, bearer(signedToken(privateKey, claims(), { alg: 'ES256' })))).status, 200);
  const cases = {
    'somebody else\'s secret': [token(secret()), 401, /signature/],
    'another app\'s name': [token(KEY, claims({ aud: 'blog' })), 401, /aud/],
    'a changed claim': [`${head}.${Buffer.from(JSON.stringify(claims({ sub: 'eve' }))).toString('base64url')}.${signature}`, 401, /signature/],
    'no signature': [`${head}.${body}.`, 401, /sign/],
    'alg none': [`${none}.${body}.`, 401, /sign/],
    'alg none with a signature': [`${none}.${body}.${signature}`, 401, /sign/],
    'a public key as the secret': [token(pem, claims(), { alg: 'HS256' }), 401, /signature/],
    'an algorithm that the key is not for': [token(KEY, claims(), { alg: 'HS512' }), 401, /HS512|algorithm/],
    'a key that the token brings along': [signedToken(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, claims(), { alg: 'ES256', jwk: publicKey.export({ format: 'jwk' }) }), 401, /signature/],
    'crit': [token(KEY, claims(), { alg: 'HS256', crit: ['x'] }), 401, /crit/],
    'expired': [token(KEY, claims({ exp: now - 60 })), 401, /expired/],
    'not yet valid': [token(KEY, claims({ nbf: now + 600 })), 401, /not valid|valid/],
    'without an end': [token(KEY, claims({ exp: undefined })), 401, /exp/],
    'a misspelt permission': [token(KEY, claims({ channels: { a: ['raed'] } })), 401, /raed/],
    'too large': [token(KEY, claims({ x: 'x'.repeat(9_000) })), 401, /token_bytes_max/],
    'no token at all': ['garbage', 401, /JWT|token/],
  };
  for (const [name, [shown, status, words]] of Object.entries(cases)) {
    const refused = await ask(server, bearer(shown));
    assert.equal(refused.status, status, `${name}: ${refused.message}`);
    assert.match(refused.message, words, name);
    const socket = await connect(t, server.ws);
    const answer = await socket.call({ type: 'connect', token: shown });
    assert.equal(answer.type, 'error', `${name} as the first message`);
    assert.equal((await within(socket.closed, 'the socket to be closed')).code, 4401, name);
  }
  const elsewhere = signedToken(privateKey, claims(manages), { alg: 'ES256' });
  assert.equal((await server.post('/v1/disconnect', { user: 'ana' }, bearer(elsewhere))).status, 403, 'a provider never grants manage');
});

test('a cookie counts only with its page', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const mine = `omnivox_token=${token(KEY)}`;
  const own = { origin: server.url };
  const cases = [
    [{ cookie: mine }, 403, /Origin|origin/],
    [{ cookie: mine, origin: 'https://evil.test' }, 403, /evil\.test.*allowed_origins/s],
    [{ cookie: mine, origin: 'null' }, 403, /null/],
    [{ cookie: mine, origin: 'https://page.test.evil.test' }, 403, /allowed_origins/],
    [{ cookie: mine, referer: 'https://evil.test/https://page.test/' }, 403, /allowed_origins/],
    [{ cookie: `${mine}; ${mine}`, ...page() }, 400, /several cookies/],
    [{ cookie: mine, ...page() }, 200, /^$/],
    [{ cookie: mine, ...own }, 200, /^$/],
    [{ cookie: mine, referer: 'https://page.test/somewhere' }, 200, /^$/],
    [{ cookie: mine, 'sec-fetch-site': 'cross-site' }, 403, /./],
    // `*` lets pages read what is public; it never lends them the cookies of their visitors.
    [{ cookie: `omnivox_token=${token(OTHER)}`, origin: 'https://any.test' }, 403, /allowed_origins/],
  ];
  for (const [headers, status, words] of cases) {
    const found = await ask(server, headers);
    assert.equal(found.status, status, `${JSON.stringify(headers).replace(/omnivox_token=[\w.-]+/g, 'C')}: ${found.message}`);
    assert.match(found.message, words);
  }
  const wrongPage = await ask(server, { ...bearer(token(KEY)), origin: 'https://evil.test' });
  assert.deepEqual([wrongPage.status, wrongPage.code], [403, 'forbidden'], 'a token of a page that may not come');
});

test('apps share nothing, and keys reach no further than they say', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const shop = bearer(token(KEY));
  const blog = bearer(token(OTHER));
  assert.equal((await server.post('/v1/publish', { channel: 'a', data: 'of the shop' }, shop)).status, 200);
  assert.deepEqual((await server.get('/v1/history?channel=a', blog)).json.events, []);
  assert.equal((await server.get('/v1/history?channel=a', shop)).json.events.length, 1);
  const reader = await connect(t, server.ws, { headers: shop });
  await reader.subscribe('a');
  // The other app's back end means its own user of that name.
  assert.equal((await server.post('/v1/disconnect', { user: 'ana' }, { authorization: basic('blog', OTHER) })).status, 200);
  assert.deepEqual((await server.get('/v1/connections?user=ana', { authorization: basic('blog', OTHER) })).json.connections, []);
  assert.equal((await reader.call({ type: 'ping' })).type, 'pong');
  assert.equal((await ask(server, { authorization: basic('shop', OTHER) })).status, 401);
  const writer = { authorization: basic('writer', LIMITED) };
  assert.equal((await server.post('/v1/publish', { channel: 'news:x', data: 1 }, writer)).status, 200);
  const beyond = await server.post('/v1/publish', { channel: 'a', data: 1 }, writer);
  assert.equal(beyond.status, 403);
  assert.match(beyond.json.error.message, /publish is not allowed for channel `a`/);
  assert.equal((await ask(server, writer)).status, 403);
  assert.equal((await server.post('/v1/revoke', { user: 'ana' }, writer)).status, 403);
  assert.equal((await server.post('/v1/revoke', { user: 'ana' }, shop)).status, 403, 'a client does not manage');
});

test('signed requests work once, for what was signed', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const body = JSON.stringify({ channel: 'a', data: 1 });
  const send = (authorization, sent = body) =>
    server.request('POST', '/v1/publish', sent, { authorization, 'content-type': 'application/json' });
  const good = hmac('shop', KEY, 'POST', '/v1/publish', body);
  assert.equal((await send(good)).status, 200);
  const cases = [
    [good, body, /twice|once|already|nonce/],
    [hmac('shop', KEY, 'POST', '/v1/publish', body), body.replace('1', '2'), /signature/],
    [hmac('shop', KEY, 'POST', '/v1/other', body), body, /signature/],
    [hmac('shop', OTHER, 'POST', '/v1/publish', body), body, /signature/],
    [hmac('nobody', KEY, 'POST', '/v1/publish', body), body, /signature/],
    [hmac('shop', KEY, 'POST', '/v1/publish', body, { at: Date.now() - 3_600_000 }), body, /clock|time/],
  ];
  for (const [authorization, sent, words] of cases) {
    const refused = await send(authorization, sent);
    assert.equal(refused.status, 401, refused.text);
    assert.match(refused.json.error.message, words);
  }
});

test('back ends see, end and revoke', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const old = token(KEY, claims({ jti: 'first' }));
  const ana = await connect(t, server.ws, { headers: bearer(old) });
  await ana.subscribe('a');
  const bob = await connect(t, server.ws, { headers: bearer(token(KEY, claims({ sub: 'bob', jti: 'second' }))) });
  await bob.subscribe('a');
  const list = async (user) => (await server.get(`/v1/connections?user=${user}`, manager)).json.connections;
  const [mine] = await list('ana');
  assert.deepEqual({ ...mine, session: '' }, { session: '', dialect: 'native', subscriptions: 1, token: 'first' });
  assert.equal((await server.post('/v1/disconnect', { session: mine.session }, manager)).status, 200);
  assert.equal((await within(ana.closed, 'ana to be sent away')).code, 4403);
  const again = await connect(t, server.ws, { headers: bearer(old) });
  await again.subscribe('a');
  assert.equal((await server.post('/v1/revoke', { token: 'first' }, manager)).status, 200);
  assert.equal((await within(again.closed, 'the token to be refused')).code, 4403);
  const refused = await ask(server, bearer(old));
  assert.deepEqual([refused.status, /revoked/.test(refused.message)], [401, true]);
  const { response, inbox } = await rawStream(t, `${server.url}/v1/sse?channel=a`, { headers: bearer(token(KEY, claims({ sub: 'bob' }))) });
  assert.equal(response.status, 200);
  assert.equal((await server.post('/v1/revoke', { user: 'bob' }, manager)).status, 200);
  assert.equal((await within(bob.closed, 'bob to be sent away')).code, 4403);
  await inbox.next((line) => JSON.stringify(line).includes('kicked'), 'the stream to say why it ends');
  assert.equal((await ask(server, bearer(token(KEY, claims({ sub: 'bob' }))))).status, 401, 'made in the same second: not newer');
  const newer = token(KEY, claims({ sub: 'bob', iat: Math.floor(Date.now() / 1000) + 2 }));
  assert.equal((await ask(server, bearer(newer))).status, 200, 'what the back end makes afterwards is good again');
});

test('a credential is renewed on a living connection, and takes with it what it no longer grants', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  const socket = await connect(t, server.ws, { headers: bearer(token(KEY)) });
  await socket.subscribe('a');
  await socket.subscribe('b');
  const narrower = token(KEY, claims({ channels: { b: ['subscribe'] } }));
  assert.equal((await socket.call({ type: 'connect', token: narrower })).type, 'connected');
  assert.equal((await socket.next({ type: 'unsubscribed' })).channel, 'a');
  assert.equal((await socket.call({ type: 'publish', channel: 'b', data: 1 })).code, 'forbidden');
  const other = await socket.call({ type: 'connect', token: token(KEY, claims({ sub: 'eve' })) });
  assert.equal(other.code, 'unauthorized');
  await server.post('/v1/publish', { channel: 'b', data: 'still here' }, bearer(token(KEY)));
  assert.equal((await socket.next({ type: 'message' })).data, 'still here');
});
