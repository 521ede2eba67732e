// The programs of `docs/migrate/programs`, run as they lie there, with the packages that a reader would install.

import { cpSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { ROOT, cleanEnvironment } from './omnivox.mjs';
import { folder, program } from './programs.mjs';

const PROGRAMS = path.join(ROOT, 'docs/migrate/programs');

/// The name of each.
export const NAMES = readdirSync(PROGRAMS).filter((name) => name.endsWith('.mjs'));

/// The text of one.
export const text = (name) => readFileSync(path.join(PROGRAMS, name), 'utf8');

/// A copy of the folder beside our `node_modules`, and how to start a program in it.
export function guide(t) {
  const home = folder(t);
  cpSync(PROGRAMS, home, { recursive: true });
  symlinkSync(path.join(ROOT, 'e2e/node_modules'), path.join(home, 'node_modules'));
  return (name, env = {}, args = []) => program(t, process.execPath, [name, ...args], {
    cwd: home, env: cleanEnvironment({ ...env }), stdio: ['pipe', 'pipe', 'pipe'],
  });
}
