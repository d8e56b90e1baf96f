// A few things by their keys: the newest stay, and who asked to be told hears of each that goes.

export class Recent extends Map {
  constructor(most, gone = () => {}) {
    super();
    Object.assign(this, { most, gone });
  }

  set(key, value) {
    this.delete(key);
    super.set(key, value);
    if (this.size <= this.most) return this;
    const [oldest, left] = this.entries().next().value;
    this.delete(oldest);
    this.gone(left);
    return this;
  }
}
