// What a test has received and not yet looked at, in order of arrival.
//
// Tests never sleep: they wait for the thing itself, and a wait that is not answered fails with what came instead.

export const PATIENCE_MS = 15_000;

export class Inbox {
  #items = [];
  #waiting = [];
  #closed = null;

  push(item) {
    const taker = this.#waiting.findIndex(({ matches }) => matches(item));
    if (taker >= 0) this.#waiting.splice(taker, 1)[0].take(item);
    else this.#items.push(item);
  }

  /// No more will come; whoever waits is told why.
  close(reason) {
    this.#closed ??= reason;
    for (const waiter of this.#waiting.splice(0)) waiter.fail();
  }

  /// The next item, or the next that matches; those before it stay.
  next(matches = () => true, what = matches.toString(), patience = PATIENCE_MS) {
    const at = this.#items.findIndex(matches);
    if (at >= 0) return Promise.resolve(this.#items.splice(at, 1)[0]);
    return new Promise((resolve, reject) => {
      const fail = () => {
        clearTimeout(timer);
        const came = JSON.stringify(this.#items.slice(-20));
        reject(new Error(`waited in vain for ${what}${this.#closed ? `, closed: ${this.#closed}` : ''}; what came: ${came}`));
      };
      const waiter = { matches, fail, take: (item) => { clearTimeout(timer); resolve(item); } };
      const timer = setTimeout(() => { this.#waiting.splice(this.#waiting.indexOf(waiter), 1); fail(); }, patience);
      if (this.#closed) { fail(); return; }
      this.#waiting.push(waiter);
    });
  }

  /// Everything that has come and was not taken.
  drain() {
    return this.#items.splice(0);
  }

  get length() {
    return this.#items.length;
  }
}

/// Asks again until the answer is truthy; for states that nothing announces.
export async function until(ask, what, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/// `promise`, or an error that says what did not happen in time.
export function within(promise, what, patience = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), patience); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
