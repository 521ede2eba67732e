// A certificate of the test's own: it and its key are gone after the test.

import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { folder } from './programs.mjs';

/// A self-signed certificate for 127.0.0.1, its key, and the hash of its public key by which Chromium can be told to trust it.
export function certificate(t) {
  const place = folder(t);
  const [key, chain] = [path.join(place, 'key.pem'), path.join(place, 'chain.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', chain], { stdio: 'pipe' });
  const { publicKey } = new X509Certificate(readFileSync(chain));
  const spki = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  return { key, chain, spki };
}
