/** What the figures along an axis share. Pure. */
import { distinct } from '../groups.ts';

/** Whether an axis takes at least two values. */
export const varies = (values: readonly (number | null)[]): boolean =>
  distinct(values.filter((value) => value !== null)).length > 1;

export const joinLabels = (...parts: readonly string[]): string =>
  parts.filter((part) => part !== '').join(' · ');

/** Returns the text as an id: lower-case letters, digits and hyphens. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
