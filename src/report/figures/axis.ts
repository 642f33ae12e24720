/** What the figures along an axis share. Pure. */
import { distinct } from '../groups.ts';

/** An axis counts when it takes at least two values. */
export const varies = (values: readonly (number | null)[]): boolean =>
  distinct(values.filter((value) => value !== null)).length > 1;

export const joinLabels = (...parts: readonly string[]): string =>
  parts.filter((part) => part !== '').join(' · ');

/** Lower-case letters, digits and hyphens, as ids have them. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
