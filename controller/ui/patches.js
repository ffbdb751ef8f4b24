// Changes on their way to the server. A dragged slider speaks now and then; the last value always arrives.

const EVERY_MS = 60;

/** Gathers patches and hands them to `hand` together, one such moment after the first. */
export class Patches {
  #hand;
  #pending = {};
  #timer = 0;

  constructor(hand) {
    this.#hand = hand;
  }

  tell(patch) {
    Object.assign(this.#pending, patch);
    this.#timer ||= setTimeout(() => {
      const gathered = this.#pending;
      this.#pending = {};
      this.#timer = 0;
      if (Object.keys(gathered).length > 0) this.#hand(gathered);
    }, EVERY_MS);
  }
}
