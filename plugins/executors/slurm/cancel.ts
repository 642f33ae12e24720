/** Cancels what a run has submitted, by the files in its folder, from any login node. */
import type { ClientOptions } from './client.ts';
import { createClient } from './client.ts';
import { recordedSubmissions, Spool } from './spool.ts';

export interface Cancelled {
  /** The names of the submissions that were cancelled. */
  readonly cancelled: readonly string[];
  /** Those for which scancel failed. */
  readonly failed: readonly string[];
}

/**
 * Cancels every job that a run has submitted or adopted, and gives up the claims of their stages,
 * so that a rerun submits them anew. Jobs that have ended are left as they are.
 * @param dir the run's folder
 */
export async function cancelSubmissions(dir: string, options: ClientOptions): Promise<Cancelled> {
  const client = createClient(options);
  const cancelled: string[] = [],
    failed: string[] = [];
  for (const { name, spool: root } of recordedSubmissions(dir)) {
    const spool = new Spool(root);
    if (!spool.hasSubmission(name)) continue; // every stage of it was stored
    for (const key of spool.claimedBy(name)) spool.disclaim(key);
    ((await client.cancel(name)) ? cancelled : failed).push(name);
  }
  return { cancelled, failed };
}
