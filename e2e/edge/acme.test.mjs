// Certificates from an authority: asked for, proven, stored, renewed, against Pebble on loopback.
// parts: pebble, openssl
// budget: 240 s

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import tls from 'node:tls';
import { test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { until } from '../lib/inbox.mjs';
import { omnivox } from '../lib/omnivox.mjs';
import { pebble } from '../lib/pebble.mjs';
import { folder, freePort } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

const NAMES = ['edge.omnivox.test', 'rt.omnivox.test'];

function settings({ challenge, directory, ownCertificate, home, httpPort, tlsPort }) {
  return `${OPEN.replace('127.0.0.1:0', `127.0.0.1:${httpPort}`)}
[tls]
listen = ["127.0.0.1:${tlsPort}"]

[acme]
names = ${JSON.stringify(NAMES)}
terms_agreed = true
directory = "${directory}"
contacts = ["mailto:ops@omnivox.test"]
folder = "${home}"
challenge = "${challenge}"

[outgoing]
ca_file = "${ownCertificate}"
`;
}

/// The certificate that a name gets, or why the handshake fails.
function handshake(port, servername, ca, ALPNProtocols) {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername, ca, ALPNProtocols }, () => {
      const { serialNumber, valid_to: end } = socket.getPeerCertificate();
      resolve({ serial: serialNumber, end });
      socket.destroy();
    });
    socket.on('error', (error) => resolve({ error: error.code ?? error.message }));
  });
}

/// The first certificate that is not `but`.
async function served(port, servername, ca, but) {
  let answer = {};
  await until(async () => {
    answer = await handshake(port, servername, ca);
    return answer.serial !== undefined && answer.serial !== but;
  }, `a certificate for ${servername}`, 60_000);
  return answer;
}

for (const challenge of ['tls-alpn-01', 'http-01']) {
  test(`${challenge}: a certificate is asked for, kept, and served after a restart without the authority`, async (t) => {
    const [httpPort, tlsPort, home] = [await freePort(), await freePort(), path.join(folder(t), 'acme')];
    const ca = await pebble(t, { httpPort, tlsPort });
    const text = settings({ challenge, ...ca, home, httpPort, tlsPort });
    const server = await omnivox(t, { settings: text });
    const root = await ca.root();
    const first = await served(tlsPort, NAMES[0], root);
    assert.deepEqual(await handshake(tlsPort, NAMES[1], root), first, 'one certificate for both names');
    assert.ok((await server.metric('omnivox_tls_certificate_expires_seconds')) * 1000 > Date.now());
    const proof = await handshake(tlsPort, NAMES[0], root, ['acme-tls/1']);
    assert.ok(proof.error, 'no proof is shown when no order needs it');
    assert.equal((await server.get('/.well-known/acme-challenge/x')).status, 404);

    assert.equal(statSync(home).mode & 0o777, 0o700);
    const files = readdirSync(home).sort();
    assert.match(files.join(' '), /^account-[0-9a-f]{16}\.json edge\.omnivox\.test-[0-9a-f]{16}\.pem$/);
    for (const file of files) assert.equal(statSync(path.join(home, file)).mode & 0o777, 0o600, file);
    const key = readFileSync(path.join(home, files[1]), 'utf8').split('\n')[1];
    assert.ok(!server.output.includes(key), 'the key is in no log');

    await server.stop();
    await ca.authority.stop('SIGKILL');
    const again = await omnivox(t, { settings: text });
    assert.deepEqual(await handshake(tlsPort, NAMES[0], root), first);
    assert.doesNotMatch(again.output, /ERROR/);
  });
}

test('a certificate is renewed after two thirds of its time, and nobody is disconnected', async (t) => {
  const [httpPort, tlsPort, home] = [await freePort(), await freePort(), folder(t)];
  const ca = await pebble(t, { httpPort, tlsPort, validSeconds: 30 });
  const server = await omnivox(t, { settings: settings({ challenge: 'tls-alpn-01', ...ca, home, httpPort, tlsPort }) });
  const client = await connect(t, server.ws);
  await client.subscribe('steady');
  const root = await ca.root();
  const first = await served(tlsPort, NAMES[0], root);
  const second = await served(tlsPort, NAMES[0], root, first.serial);
  assert.notEqual(second.serial, first.serial);
  await server.publish('steady', 'still here');
  assert.equal((await client.next({ type: 'message' })).data, 'still here');
});

test('an authority that is not there is an error in the log, and the server serves without TLS', async (t) => {
  const [httpPort, tlsPort, nobody] = [await freePort(), await freePort(), await freePort()];
  const absent = { directory: `https://127.0.0.1:${nobody}/dir`, ownCertificate: '/etc/ssl/certs/ca-certificates.crt' };
  const server = await omnivox(t, { settings: settings({ challenge: 'http-01', ...absent, home: folder(t), httpPort, tlsPort }) });
  await server.printed(/ERROR.*the authority gives no certificate/);
  assert.ok((await handshake(tlsPort, NAMES[0], undefined)).error);
  assert.equal((await server.get('/health')).status, 200);
});
