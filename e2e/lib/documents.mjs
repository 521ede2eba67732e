// The code that our documents show, so that what they show is what is tested.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './omnivox.mjs';

/// The fenced blocks of one language in a document, in order.
export function blocks(document, language) {
  const text = readFileSync(path.join(ROOT, document), 'utf8');
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, found]) => found === language).map(([, , code]) => code);
}

/// The only such block.
export function block(document, language) {
  const found = blocks(document, language);
  if (found.length !== 1) throw new Error(`${document} has ${found.length} blocks of ${language}`);
  return found[0];
}

/// The README's JavaScript: WebSocket, EventSource.
export function snippets() {
  return blocks('README.md', 'js');
}

/// The README's command lines with curl, joined where a line goes on.
export function curlLines() {
  const lines = blocks('README.md', 'sh').join('\n').replaceAll(/\\\n\s*/g, '').split('\n');
  return lines.filter((line) => line.startsWith('curl '));
}
