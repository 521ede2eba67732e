// Tokens of both generations that are wrong in some way: what each may do, and the words of the refusal.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { omnivox } from '../lib/omnivox.mjs';
import { HUB, part, publish } from './hub.mjs';

const SECRET = 'the hub and its clients share this secret';
const RESOURCE = 'https://hub.example/.well-known/mercure';
const now = Math.floor(Date.now() / 1000);
const detail = (more = {}) => ({ type: 'https://mercure.rocks/authorization-detail', actions: ['publish', 'subscribe'], topics: [{ match: '*' }], ...more });

function signed(header, claims, secret = SECRET) {
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

const first = (claims, header = {}) => signed({ alg: 'HS256', typ: 'JWT', ...header }, claims);
const access = (claims, header = {}) =>
  signed({ alg: 'HS256', typ: 'at+jwt', ...header }, { aud: RESOURCE, iss: 'https://login.example', exp: now + 600, authorization_details: [detail()], ...claims });

/// Who; the token; the answer to publishing, then to the list of subscriptions; the error that RFC 6750 names.
const CASES = [
  ['nobody', null, 401, 401, null],
  // The first generation.
  ['a good token', first({ mercure: { publish: ['*'], subscribe: ['*'] } }), 200, 200, null],
  ['the namespaced claim', first({ 'https://mercure.rocks/': { publish: ['*'], subscribe: ['*'] } }), 200, 200, null],
  ['no claim', first({}), 401, 401, 'insufficient_scope'],
  ['publish is null', first({ mercure: { publish: null, subscribe: ['*'] } }), 401, 200, 'insufficient_scope'],
  ['publish is empty', first({ mercure: { publish: [], subscribe: [] } }), 401, 401, 'insufficient_scope'],
  ['publish is no list', first({ mercure: { publish: '*' } }), 401, 401, 'invalid_token'],
  ['too many selectors', first({ mercure: { publish: Array.from({ length: 1001 }, (_, n) => `${n}`) } }), 401, 401, 'invalid_token'],
  ['over since yesterday', first({ exp: now - 86_400, mercure: { publish: ['*'] } }), 401, 401, 'invalid_token'],
  ['not before tomorrow', first({ nbf: now + 86_400, mercure: { publish: ['*'] } }), 401, 401, 'invalid_token'],
  ['for another hub', first({ aud: 'https://other.example/', mercure: { publish: ['*'] } }), 401, 401, 'invalid_token'],
  ['another secret', signed({ alg: 'HS256' }, { mercure: { publish: ['*'] } }, 'somebody else has this secret, not we'), 401, 401, 'invalid_token'],
  ['no signature', `${part({ alg: 'none' })}.${part({ mercure: { publish: ['*'] } })}.`, 401, 401, 'invalid_token'],
  ['an algorithm that is not allowed', first({ mercure: { publish: ['*'] } }, { alg: 'RS256' }), 401, 401, 'invalid_token'],
  ['too short to be one', 'a.b.c', 401, 401, 'invalid_token'],
  // The second.
  ['a good access token', access({}), 200, 200, null],
  ['its kind in other letters', access({}, { typ: 'application/AT+JWT' }), 200, 200, null],
  ['one audience of several', access({ aud: ['x', RESOURCE] }), 200, 200, null],
  ['no end', access({ exp: undefined }), 401, 401, 'invalid_token'],
  ['no audience', access({ aud: undefined }), 401, 401, 'invalid_token'],
  ['another audience', access({ aud: 'https://other.example/.well-known/mercure' }), 401, 401, 'invalid_token'],
  ['no details', access({ authorization_details: undefined }), 403, 403, 'insufficient_scope'],
  ['details of others', access({ authorization_details: [{ type: 'payment' }] }), 403, 403, 'insufficient_scope'],
  ['an action that is not known', access({ authorization_details: [detail({ actions: ['dance'] })] }), 403, 403, 'insufficient_scope'],
  ['other topics', access({ authorization_details: [detail({ topics: [{ match: 'b' }] })] }), 403, 403, 'insufficient_scope'],
  ['a detail without topics', access({ authorization_details: [detail({ topics: undefined })] }), 401, 401, 'invalid_token'],
  ['an unknown way to match', access({ authorization_details: [detail({ topics: [{ match: 'a', match_type: 'regex' }] })] }), 401, 401, 'invalid_token'],
  ['an empty pattern', access({ authorization_details: [detail({ topics: [{ match: '' }] })] }), 401, 401, 'invalid_token'],
  ['a control character', access({ authorization_details: [detail({ topics: [{ match: 'a\n' }] })] }), 401, 401, 'invalid_token'],
  ['a pattern that can not be read', access({ authorization_details: [detail({ topics: [{ match: '/(', match_type: 'urlpattern' }] })] }), 401, 401, 'invalid_token'],
  ['one good detail and a bad one', access({ authorization_details: [detail(), detail({ actions: 7 })] }), 401, 401, 'invalid_token'],
  // One in the dress of the other: the claims count, the refusal is in the words of the token's kind.
  ['an access token with the old claim', access({ authorization_details: undefined, mercure: { publish: ['*'], subscribe: ['*'] } }), 200, 200, null],
  ['an access token with too little of the old claim', access({ authorization_details: undefined, mercure: { publish: ['b'] } }), 403, 403, 'insufficient_scope'],
  ['an old token with the new claim', first({ authorization_details: [detail({ topics: [{ match: 'b' }] })] }), 403, 403, 'insufficient_scope'],
];

const SETTINGS = `
[server]
listen = ["127.0.0.1:0"]

[mercure]
subscriptions = true
public_origin = "https://hub.example"

[[app]]
id = "demo"
open = true
token_expiry_required = false
mercure_publisher_secrets = ["${SECRET}"]
mercure_subscriber_secrets = ["${SECRET}"]

[[namespace]]
channels = "*"
anonymous = ["subscribe", "history"]
`;

test('each token is answered in the words of its generation', async (t) => {
  const server = await omnivox(t, { settings: SETTINGS });
  server.hub = server.url + HUB;
  const metadata = 'resource_metadata="https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure"';
  for (const [who, bearer, publishes, lists, error] of CASES) {
    const published = await publish(server, [['topic', 'a'], ['data', 'x']], bearer);
    const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    const listed = await fetch(`${server.hub}/subscriptions`, { headers });
    assert.deepEqual([published.status, listed.status], [publishes, lists], who);
    for (const [status, challenge] of [[publishes, published.challenge], [lists, listed.headers.get('www-authenticate')]]) {
      const expected = status === 200 ? null : `Bearer ${error ? `error="${error}", ` : ''}${metadata}`;
      assert.equal(challenge, expected, who);
    }
  }
});

test('strict settings leave the second generation alone, of the issuers that are named', async (t) => {
  const more = 'token_access_only = true\ntoken_issuers = ["https://login.example"]\n';
  const server = await omnivox(t, { settings: SETTINGS.replace('token_expiry_required = false\n', more) });
  server.hub = server.url + HUB;
  for (const [who, bearer, status] of [
    ['an access token', access({}), 200],
    ['one of another issuer', access({ iss: 'https://other.example' }), 401],
    ['one without issuer', access({ iss: undefined }), 401],
    ['a token of the first generation', first({ iss: 'https://login.example', mercure: { publish: ['*'] } }), 401],
  ]) {
    assert.equal((await publish(server, [['topic', 'a']], bearer)).status, status, who);
  }
});
