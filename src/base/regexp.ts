/** Returns a pattern that matches this text alone, also under the flag u. */
export const escapeRegExp = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
