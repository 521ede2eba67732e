// Certificates that tests make themselves, with the system's openssl.

import { execFileSync } from 'node:child_process';
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

/// The section of the settings, with this address.
export function tlsSection({ certificate, key }, listen = '127.0.0.1:0') {
  return `[tls]\nlisten = ["${listen}"]\ncertificate_file = "${certificate}"\nprivate_key_file = "${key}"\n`;
}
