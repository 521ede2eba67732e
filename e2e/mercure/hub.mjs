// A hub with Mercure's keys, tokens of both generations, and what every test of it does.

import { createHmac } from 'node:crypto';
import { omnivox } from '../lib/omnivox.mjs';

export const HUB = '/.well-known/mercure';
const SECRET = 'the publishers and subscribers of a hub share this';

/// Everyone may subscribe; who publishes or reads private updates needs a token.
const SETTINGS = `
[server]
listen = ["127.0.0.1:0"]

[mercure]
subscriptions = true

[[app]]
id = "demo"
open = true
secret = "${SECRET}"
token_expiry_required = false
token_audiences = ["https://localhost/.well-known/mercure", "demo"]

[[namespace]]
channels = "*"
anonymous = ["subscribe", "history"]
authenticated = ["subscribe", "history"]
`;

export async function hub(t, more = '') {
  const server = await omnivox(t, { settings: SETTINGS + more });
  server.hub = server.url + HUB;
  return server;
}

export const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export function token(claims, typ = 'JWT') {
  const signed = `${part({ alg: 'HS256', typ })}.${part({ aud: 'demo', ...claims })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

export const first = (mercure) => token({ mercure });

export function second(actions, match, match_type) {
  const topics = [{ match, match_type }];
  const details = [{ type: 'https://mercure.rocks/authorization-detail', actions, topics }];
  return token({ authorization_details: details, exp: Math.floor(Date.now() / 1000) + 600 }, 'at+jwt');
}

export const PUBLISHERS = { '0.x': first({ publish: ['*'], subscribe: ['*'] }), '1.0': second(['publish', 'subscribe'], '*') };

export async function publish(server, fields, bearer = PUBLISHERS['0.x']) {
  const body = new URLSearchParams(fields);
  const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
  const response = await fetch(server.hub, { method: 'POST', headers, body });
  return { status: response.status, type: response.headers.get('content-type'), challenge: response.headers.get('www-authenticate'), id: await response.text() };
}
