// Tokens and signed requests for tests, made with nothing but Node's own crypto, so that they judge the server from outside.

import { createHash, createHmac, randomBytes, sign } from 'node:crypto';

const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export const secret = () => randomBytes(32).toString('hex');

/// Claims that are good for ten minutes.
export function claims(more = {}) {
  const now = Math.floor(Date.now() / 1000);
  return { sub: 'ana', iat: now, exp: now + 600, channels: { '*': ['subscribe', 'publish', 'history'] }, ...more };
}

/// A token signed with a shared secret; the header may say anything.
export function token(key, content = claims(), header = { alg: 'HS256', typ: 'JWT' }) {
  const signed = `${part(header)}.${part(content)}`;
  const hash = { HS384: 'sha384', HS512: 'sha512' }[header.alg] ?? 'sha256';
  return `${signed}.${createHmac(hash, key).update(signed).digest('base64url')}`;
}

/// A token signed with a private key: ES256, RS256 or EdDSA.
export function signedToken(key, content, header) {
  const signed = `${part(header)}.${part(content)}`;
  const options = header.alg === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' } : key;
  return `${signed}.${sign(header.alg === 'EdDSA' ? null : 'sha256', Buffer.from(signed), options).toString('base64url')}`;
}

export const basic = (id, key) => `Basic ${Buffer.from(`${id}:${key}`).toString('base64')}`;

/// The header of a request that is signed instead of showing its secret.
export function hmac(id, key, method, target, body = '', { at = Date.now(), nonce = randomBytes(8).toString('hex') } = {}) {
  const digest = createHash('sha256').update(body).digest('hex');
  const v1 = createHmac('sha256', key).update(`v1\n${at}\n${nonce}\n${method}\n${target}\n${digest}`).digest('hex');
  return `Omnivox-HMAC key=${id},t=${at},n=${nonce},v1=${v1}`;
}
