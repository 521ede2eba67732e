// Pebble, the ACME server that Let's Encrypt tests clients with, on loopback: every name leads to 127.0.0.1.

import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { certificate } from './certificates.mjs';
import { TARGET } from './omnivox.mjs';
import { accepting, folder, freePort, program } from './programs.mjs';

/// Starts it. `httpPort` and `tlsPort` are where it looks for proofs; certificates are good for so many seconds.
export async function pebble(t, { httpPort, tlsPort, validSeconds = 7_776_000 }) {
  const own = certificate(t);
  const [port, management, dns, dnsManagement] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const names = program(t, path.join(TARGET, 'pebble/pebble-challtestsrv'), [
    '-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-dnsserver', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${dnsManagement}`,
    '-http01', '', '-https01', '', '-tlsalpn01', '', '-doh', '',
  ]);
  const file = path.join(folder(t), 'pebble.json');
  writeFileSync(file, JSON.stringify({
    pebble: {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: own.certificate,
      privateKey: own.key,
      httpPort,
      tlsPort,
      ocspResponderURL: '',
      externalAccountBindingRequired: false,
      retryAfter: { authz: 1, order: 1 },
      profiles: { default: { description: 'of the test', validityPeriod: validSeconds } },
    },
  }));
  // One request in ten is refused for its nonce, as it happens in the world.
  const env = { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '10' };
  const authority = program(t, path.join(TARGET, 'pebble/pebble'), ['-config', file, '-dnsserver', `127.0.0.1:${dns}`, '-strict'], { env });
  await Promise.all([accepting(port), accepting(management), accepting(dnsManagement)]);
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    ownCertificate: own.certificate,
    authority,
    names,
    /// The root of the certificates that it gives.
    root: () => get(`https://127.0.0.1:${management}/roots/0`, readFileSync(own.certificate)),
  };
}

function get(url, ca) {
  return new Promise((resolve, reject) => {
    https.get(url, { ca }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve(text)).on('error', reject);
    }).on('error', reject);
  });
}
