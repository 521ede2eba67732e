// coturn's own client against our relay, with credentials from the server.

import { program } from '../lib/programs.mjs';

/// A pair of clients that relay to each other, `messages` packets each, one every `pause` milliseconds.
export function pair(t, { port, username, credential, messages = 40, pause = 20 }) {
  const load = ['-y', '-c', '-n', String(messages), '-m', '2', '-l', '100', '-z', String(pause)];
  return program(t, '/usr/bin/turnutils_uclient', ['-u', username, '-w', credential, '-p', String(port), ...load, '127.0.0.1']);
}

/// Asks until it is so: the server counts a moment later than the client sees.
export async function until(holds, what) {
  const end = Date.now() + 20_000;
  while (!await holds()) {
    if (Date.now() > end) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}
