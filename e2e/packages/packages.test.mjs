// What operators install, made by `cargo xtask package` and used as they would: the static binary in an empty root folder, the container
// image, the Debian package in a copy of this system, the service file under systemd's own checks.
// parts: buildah, systemd, python, dpkg
// budget: 1500 s

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { connect } from '../lib/clients.mjs';
import { within } from '../lib/inbox.mjs';
import { ROOT, TARGET, cleanEnvironment } from '../lib/omnivox.mjs';
import { Program, folder } from '../lib/programs.mjs';
import { OPEN } from '../lib/settings.mjs';

const PACKAGES = path.join(TARGET, 'package');

const run = (program, args, options = {}) => execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: cleanEnvironment(), ...options });

before(() => { run('cargo', ['xtask', 'package', '--dev'], { cwd: ROOT }); }, { timeout: 1_200_000 });

/// A client subscribes and hears what is published, over the address that `program` prints.
async function serves(t, program) {
  t.after(() => program.stop('SIGKILL'));
  const [, port] = await program.printed(/listening on http:\/\/127\.0\.0\.1:(\d+)/);
  const socket = await connect(t, `ws://127.0.0.1:${port}/v1/ws`);
  await socket.subscribe('general');
  await socket.call({ type: 'publish', channel: 'general', data: 'hi' });
  assert.equal((await socket.next({ type: 'message' })).data, 'hi');
  process.kill(innermost(program.pid), 'SIGTERM');
  const { code } = await within(program.ended, `the server to drain:\n${program.output}`, 30_000);
  assert.equal(code, 0, program.output);
}

/// The process at the end of a chain of those that only wrap it and pass no signal on.
function innermost(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  const [child] = threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean));
  return child === undefined ? pid : innermost(Number(child));
}

test('the static binary needs nothing but itself', async (t) => {
  const root = folder(t);
  copyFileSync(path.join(PACKAGES, 'omnivox'), path.join(root, 'omnivox'));
  writeFileSync(path.join(root, 'omnivox.toml'), OPEN);
  const program = new Program('chroot', [root, '/omnivox', 'serve', '--config', '/omnivox.toml'], { env: { PATH: process.env.PATH } });
  await serves(t, program);
});

test('the image is built from scratch and serves', async (t) => {
  const store = folder(t);
  const storage = ['--root', path.join(store, 'root'), '--runroot', path.join(store, 'run'), '--storage-driver', 'vfs'];
  const env = cleanEnvironment({ BUILDAH_ISOLATION: 'chroot' });
  const buildah = (...args) => run('buildah', [...storage, ...args], { env }).trim();
  t.after(() => buildah('rm', '--all'));
  buildah('bud', '--file', path.join(ROOT, 'packaging/Containerfile'), '--tag', 'omnivox', PACKAGES);
  const { OCIv1: image } = JSON.parse(buildah('inspect', '--type', 'image', 'omnivox'));
  assert.equal(image.config.User, '65532:65532');
  assert.deepEqual(image.config.Entrypoint, ['/usr/bin/omnivox']);
  assert.deepEqual(image.config.Cmd, ['serve', '--config', '/etc/omnivox/omnivox.toml']);

  const container = buildah('from', 'omnivox');
  const settings = path.join(store, 'omnivox.toml');
  writeFileSync(settings, OPEN);
  chmodSync(settings, 0o644);
  const mount = `${settings}:/etc/omnivox/omnivox.toml:ro`;
  const command = [...image.config.Entrypoint, ...image.config.Cmd];
  const program = new Program('buildah', [...storage, 'run', '--volume', mount, container, '--', ...command], { env });
  await serves(t, program);
});

test('the archive has all that its user needs', () => {
  const [archive] = readdirSync(PACKAGES).filter((name) => name.endsWith('.tar.gz'));
  const top = archive.replace(/\.tar\.gz$/, '');
  const names = run('tar', ['--list', '--file', path.join(PACKAGES, archive)]).trim().split('\n');
  for (const name of ['omnivox', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'CHANGELOG.md', 'omnivox.sample.toml', 'omnivox.service', 'completions/omnivox', 'completions/_omnivox', 'completions/omnivox.fish']) {
    assert.ok(names.includes(`${top}/${name}`), `${name} is in ${names}`);
  }
});

test('the service file passes the checks of systemd', (t) => {
  const root = folder(t);
  const units = path.join(root, 'units');
  mkdirSync(units);
  const unit = path.join(units, 'omnivox.service');
  // `verify` wants to see the program at its place.
  const text = readFileSync(path.join(ROOT, 'packaging/omnivox.service'), 'utf8');
  writeFileSync(unit, text.replaceAll('/usr/bin/omnivox', path.join(PACKAGES, 'omnivox')));
  assert.equal(run('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', unit]), '');
  // 0 is perfectly confined, 10 not at all; systemd itself calls up to 2.9 OK.
  run('systemd-analyze', ['security', '--offline=yes', '--threshold=20', unit]);
});

/// Says each state that a service sends, until it ends.
const NOTIFIED = `
import os, socket, sys
path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(path)
os.chmod(path, 0o777)
print("waiting", flush=True)
while True:
    print(listener.recv(4096).decode().replace("\\n", " "), flush=True)
`;

/// Runs in a copy of this system that is gone with the process: what is written stays in memory.
const IN_A_COPY = `
set -e
base=$1; package=$2; states=$3
mount -t tmpfs tmpfs "$base"
mkdir "$base/changes" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/changes,workdir=$base/work" "$base/root"
mount -t proc proc "$base/root/proc"
mount --bind /dev "$base/root/dev"
cp "$package" "$base/root/omnivox.deb"
mkdir "$base/root/states" && chmod 755 "$base/root" && mount --bind "$states" "$base/root/states"
cd /
chroot "$base/root" sh -ec '
  dpkg --install /omnivox.deb
  stat --format "settings %A %U:%G" /etc/omnivox/omnivox.toml
  setpriv --reuid omnivox --regid omnivox --clear-groups --no-new-privs omnivox check --config /etc/omnivox/omnivox.toml
  first=$(sha256sum /etc/omnivox/omnivox.toml)
  dpkg --install /omnivox.deb
  test "$first" = "$(sha256sum /etc/omnivox/omnivox.toml)" && echo "settings kept"
  echo "app open for the test" && printf "[server]\\nlisten = [\\"127.0.0.1:0\\"]\\n[[app]]\\nid = \\"main\\"\\nopen = true\\n" > /etc/omnivox/omnivox.toml
  NOTIFY_SOCKET=/states/notify setpriv --reuid omnivox --regid omnivox --clear-groups --no-new-privs sh -c "echo \\$\\$ > /states/pid; exec omnivox serve --config /etc/omnivox/omnivox.toml"
  dpkg --remove omnivox
  test -e /etc/omnivox/omnivox.toml && echo "settings outlive removal"
  dpkg --purge omnivox
  test ! -e /etc/omnivox && test ! -e /usr/bin/omnivox && test ! -e /lib/systemd/system/omnivox.service && echo "nothing is left"
'
`;

test('the Debian package installs, serves as its own user, tells systemd, and goes', async (t) => {
  const [base, states] = [folder(t), folder(t)];
  chmodSync(states, 0o777);
  const [name] = readdirSync(PACKAGES).filter((file) => file.endsWith('.deb'));
  const listener = new Program('python3', ['-c', NOTIFIED, path.join(states, 'notify')]);
  t.after(() => listener.stop('SIGKILL'));
  await listener.printed(/waiting/);

  const system = new Program('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', IN_A_COPY, 'copy', base, path.join(PACKAGES, name), states], { env: { PATH: process.env.PATH, DEBIAN_FRONTEND: 'noninteractive' } });
  t.after(() => system.stop('SIGKILL'));
  await system.printed(/settings -rw-r----- root:omnivox/);
  await system.printed(/settings kept/);
  const [, port] = await system.printed(/listening on http:\/\/127\.0\.0\.1:(\d+)/);
  await listener.printed(/READY=1/);
  const socket = await connect(t, `ws://127.0.0.1:${port}/v1/ws`);
  assert.equal((await socket.call({ type: 'ping' })).type, 'pong');

  const pid = Number(readFileSync(path.join(states, 'pid'), 'utf8'));
  process.kill(pid, 'SIGHUP');
  await listener.printed(/RELOADING=1 MONOTONIC_USEC=\d+[^]*READY=1/);
  process.kill(pid, 'SIGTERM');
  await listener.printed(/STOPPING=1 EXTEND_TIMEOUT_USEC=25000000/);
  await system.printed(/settings outlive removal/);
  await system.printed(/nothing is left/);
  assert.equal((await system.ended).code, 0, system.output);
});
