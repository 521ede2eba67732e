// The snippets of the README, so that what it shows is what is tested.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './omnivox.mjs';

const readme = () => readFileSync(path.join(ROOT, 'README.md'), 'utf8');

/// The JavaScript blocks, in order: WebSocket, EventSource.
export function snippets() {
  return blocks('js');
}

/// The command lines with curl, joined where a line goes on.
export function curlLines() {
  const lines = blocks('sh').join('\n').replaceAll(/\\\n\s*/g, '').split('\n');
  return lines.filter((line) => line.startsWith('curl '));
}

function blocks(language) {
  return [...readme().matchAll(/```(\w+)\n([^]*?)```/g)].filter(([, found]) => found === language).map(([, , code]) => code);
}
