// Networks of a test's own: Linux network namespaces, joined by virtual cables, with routers that translate addresses. Needs root; it is a
// failure when the machine does not let us, because then nobody has seen the thing work.
//
//   home 192.168.87.2 ── 192.168.87.1 router 10.87.1.2 ── 10.87.1.1 internet 10.87.2.1 ── 10.87.2.2 office
//
// Everything lives in namespaces that are named after the process and removed with the test, so the machine's own network is not touched.

import { execFileSync } from 'node:child_process';

function run(command, ...args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')}: ${error.stderr || error.message}`);
  }
}

let count = 0;

/// `translation`: `cone` keeps the port whatever the destination, `symmetric` draws another one for each. The office has a firewall that lets
/// in only what answers something.
export function networks(t, { translation }) {
  count += 1;
  const names = Object.fromEntries(['internet', 'router', 'home', 'office'].map((place) => [place, `ov${process.pid}-${count}-${place}`]));
  const inside = (place, command, ...args) => run('ip', 'netns', 'exec', names[place], command, ...args);
  t.after(() => { for (const name of Object.values(names)) { try { run('ip', 'netns', 'del', name); } catch { /* It was never made. */ } } });
  for (const [place, name] of Object.entries(names)) {
    run('ip', 'netns', 'add', name);
    inside(place, 'ip', 'link', 'set', 'lo', 'up');
  }
  const cable = (one, oneAddress, other, otherAddress) => {
    run('ip', 'link', 'add', 'name', `to-${other}`, 'netns', names[one], 'type', 'veth', 'peer', 'name', `to-${one}`, 'netns', names[other]);
    for (const [place, device, address] of [[one, `to-${other}`, oneAddress], [other, `to-${one}`, otherAddress]]) {
      inside(place, 'ip', 'addr', 'add', `${address}/24`, 'dev', device);
      inside(place, 'ip', 'link', 'set', device, 'up');
    }
  };
  cable('internet', '10.87.1.1', 'router', '10.87.1.2');
  cable('internet', '10.87.2.1', 'office', '10.87.2.2');
  cable('router', '192.168.87.1', 'home', '192.168.87.2');
  inside('home', 'ip', 'route', 'add', 'default', 'via', '192.168.87.1');
  inside('router', 'ip', 'route', 'add', 'default', 'via', '10.87.1.1');
  inside('office', 'ip', 'route', 'add', 'default', 'via', '10.87.2.1');
  for (const place of ['internet', 'router']) inside(place, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  const ports = translation === 'symmetric' ? ['--random-fully'] : [];
  inside('router', 'iptables', '-t', 'nat', '-A', 'POSTROUTING', '-o', 'to-internet', '-j', 'MASQUERADE', ...ports);
  inside('office', 'iptables', '-A', 'INPUT', '-i', 'to-internet', '-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'ACCEPT');
  inside('office', 'iptables', '-A', 'INPUT', '-i', 'to-internet', '-j', 'DROP');
  return { command: (place) => ['ip', 'netns', 'exec', names[place]], address: '10.87.2.1', own: '10.87.0.0/16' };
}
