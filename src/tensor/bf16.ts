/**
 * Whether matrix products in bfloat16 are offered here: by TensorFlow, on a processor that has
 * instructions for them. Other processors take the products apart into float32 ones, which is
 * slower than float32 by itself.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { BackendName } from '../api.ts';
import { visibleGpus } from './gpus.ts';
import { probe } from './probe.ts';

const CPUINFO = '/proc/cpuinfo';
/** Its flags for instructions that multiply bfloat16. */
const INSTRUCTIONS = ['avx512_bf16', 'amx_bf16'];

/** What is wrong, as a clause that follows "products in bfloat16", and a way out. */
export interface Bf16Fault {
  readonly message: string;
  readonly hint: string;
  /** Set if it is the machine's, so that another machine may do. */
  readonly ofMachine?: true;
}

/** What /proc/cpuinfo holds; empty where there is no such file. */
const cpuinfo = (): string => (existsSync(CPUINFO) ? readFileSync(CPUINFO, 'utf8') : '');

const fieldOf = (info: string, pattern: RegExp): string | undefined =>
  pattern.exec(info)?.[1]?.trim();

const flagsOf = (info: string): string[] => fieldOf(info, /^flags\s*:(.*)$/m)?.split(' ') ?? [];

/** Whether this processor multiplies bfloat16 by tiles (AMX). */
export const hasTiles = (): boolean => flagsOf(cpuinfo()).includes('amx_bf16');

/** @param info what /proc/cpuinfo holds */
export function processorFault(info: string): Bf16Fault | null {
  const flags = flagsOf(info);
  if (INSTRUCTIONS.some((flag) => flags.includes(flag))) return null;
  const model = fieldOf(info, /^model name\s*:(.*)$/m);
  return {
    message:
      'are slower than float32 on a processor without instructions for them ' +
      `(${INSTRUCTIONS.join(' or ')}), and this one has none${model ? `: ${model}` : ''}`,
    hint: 'Leave out train.precision, or run the training on a processor that has them.',
    ofMachine: true,
  };
}

/** Returns why a backend computes no products in bfloat16 on this machine; null where it does. */
export async function bf16Fault(backend: BackendName): Promise<Bf16Fault | null> {
  if (backend !== 'tensorflow')
    return {
      message: `need the backend tensorflow, and this is ${backend}`,
      hint: 'Leave out train.precision, or use TensorFlow (`dosimeter setup` installs it).',
    };
  const found = (await probe()).find(({ name }) => name === backend);
  if (found?.gpu === true && visibleGpus(process.env).length > 0)
    return {
      message: 'are computed on processors only, and TensorFlow computes on a GPU here',
      hint: 'Leave out train.precision, or hide the GPUs: CUDA_VISIBLE_DEVICES=-1.',
      ofMachine: true,
    };
  return processorFault(cpuinfo());
}
