// Publishers and subscribers with keys of their own: secrets, PEM files and key sets, rotated without a gap, each for its role only.

import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { rawStream } from '../lib/clients.mjs';
import { folder } from '../lib/programs.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { HUB, part, publish } from './hub.mjs';

const SECRETS = {
  oldPublisher: 'the publishers had this secret before',
  newPublisher: 'the publishers have this secret by now',
  subscriber: 'the subscribers have a secret of theirs',
  both: 'some may both publish and subscribe here',
  nobody: 'nobody was ever given this secret at all',
};
const CLAIMS = { mercure: { publish: ['*'], subscribe: ['*'] } };

function hmac(secret, claims = CLAIMS) {
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

function rsa(key, kid, claims = CLAIMS) {
  const signed = `${part({ alg: 'RS256', typ: 'JWT', kid })}.${part(claims)}`;
  return `${signed}.${createSign('sha256').update(signed).sign(key, 'base64url')}`;
}

test('each key is good for its role', async (t) => {
  const place = folder(t);
  const pairs = Array.from({ length: 3 }, () => generateKeyPairSync('rsa', { modulusLength: 2048 }));
  const pem = join(place, 'publisher.pem');
  await writeFile(pem, pairs[0].publicKey.export({ type: 'spki', format: 'pem' }));
  const set = join(place, 'subscribers.jwks.json');
  const keys = pairs.slice(1).map(({ publicKey }, at) => ({ ...publicKey.export({ format: 'jwk' }), kid: `k${at}`, alg: 'RS256', use: 'sig' }));
  await writeFile(set, JSON.stringify({ keys }));
  const server = await omnivox(t, {
    settings: `
[server]
listen = ["127.0.0.1:0"]

[[app]]
id = "demo"
token_expiry_required = false
mercure_publisher_secrets = ["${SECRETS.oldPublisher}", "${SECRETS.newPublisher}", "${SECRETS.both}"]
mercure_publisher_keys = [${JSON.stringify(pem)}]
mercure_subscriber_secrets = ["${SECRETS.subscriber}", "${SECRETS.both}"]
mercure_subscriber_keys = [${JSON.stringify(set)}]
token_algorithms = ["HS256", "RS256"]

[[namespace]]
channels = "*"
authenticated = ["subscribe", "history"]
`,
  });
  server.hub = server.url + HUB;
  const cases = [
    ['an old publisher', hmac(SECRETS.oldPublisher), 200, 401],
    ['a new publisher', hmac(SECRETS.newPublisher), 200, 401],
    ['a publisher with a key pair', rsa(pairs[0].privateKey), 200, 401],
    ['a subscriber', hmac(SECRETS.subscriber), 401, 200],
    ['a subscriber of the key set', rsa(pairs[1].privateKey, 'k0'), 401, 200],
    ['another subscriber of the key set', rsa(pairs[2].privateKey, 'k1'), 401, 200],
    ['a key under the other id', rsa(pairs[1].privateKey, 'k1'), 401, 401],
    ['one who may do both', hmac(SECRETS.both), 200, 200],
    ['a stranger', hmac(SECRETS.nobody), 401, 401],
    ['nobody', null, 401, 401],
  ];
  for (const [who, bearer, publishes, subscribes] of cases) {
    assert.equal((await publish(server, [['topic', 'a'], ['data', who]], bearer)).status, publishes, `${who} publishes`);
    const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
    const stop = new AbortController();
    const { status } = await fetch(`${server.hub}?topic=a`, { headers, signal: stop.signal });
    stop.abort();
    assert.equal(status, subscribes, `${who} subscribes`);
  }
  // A private update reaches the one whose own token covers it.
  const stream = await rawStream(t, `${server.hub}?topic=a`, { headers: { authorization: `Bearer ${rsa(pairs[1].privateKey, 'k0')}` } });
  await publish(server, [['topic', 'a'], ['data', 'secret'], ['private', 'on']], hmac(SECRETS.newPublisher));
  assert.match(await stream.inbox.next((block) => block.includes('data:')), /data: secret/);
});
