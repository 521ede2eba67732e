// Certificates that tests make themselves, with the system's openssl.

import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { folder } from './programs.mjs';

/// A certificate for these names that is its own authority, and its key, in a folder that is gone after the test.
export function certificate(t, names = ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1']) {
  const home = folder(t);
  const files = { certificate: path.join(home, 'cert.pem'), key: path.join(home, 'key.pem') };
  renew(files, names);
  return files;
}

/// Writes another one in its place.
export function renew(files, names = ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1']) {
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj', '/CN=localhost',
    '-keyout', files.key, '-out', files.certificate, '-addext', `subjectAltName=${names.join(',')}`, '-addext', 'basicConstraints=critical,CA:FALSE',
  ], { stdio: 'pipe' });
}

/// The hash of its public key, by which Chromium can be told to trust it.
export function fingerprint({ certificate }) {
  const { publicKey } = new X509Certificate(readFileSync(certificate));
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
}

/// The section of the settings, with this address.
export function tlsSection({ certificate, key }, listen = '127.0.0.1:0') {
  return `[tls]\nlisten = ["${listen}"]\ncertificate_file = "${certificate}"\nprivate_key_file = "${key}"\n`;
}

/// The section for a relay that is reached over UDP, TCP and TLS.
export function relaySection({ certificate, key }) {
  const listen = ['udp', 'tcp', 'tls'].map((transport) => `${transport} = ["127.0.0.1:0"]\n`).join('');
  return `[turn]\n${listen}certificate_file = "${certificate}"\nprivate_key_file = "${key}"\n`;
}
