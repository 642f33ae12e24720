/** Which GPUs this process may use. */
import { existsSync, readdirSync } from 'node:fs';

/** CUDA on Windows' Linux has one device file for all. */
const WSL = '/usr/lib/wsl/lib/libcuda.so.1';

/**
 * NVIDIA's GPUs by identity, as CUDA_VISIBLE_DEVICES has them (`0`, `GPU-8932f937`, …): those that it lists, else all. No
 * driver is asked: their device files are counted.
 */
export function visibleGpus(
  env: Readonly<Record<string, string | undefined>>,
  devices = '/dev',
): readonly string[] {
  const count =
    process.platform !== 'linux'
      ? 0
      : readdirSync(devices).filter((name) => /^nvidia\d+$/.test(name)).length ||
        (existsSync(WSL) ? 1 : 0);
  if (count === 0) return [];
  const listed = env['CUDA_VISIBLE_DEVICES']?.split(',').map((gpu) => gpu.trim());
  if (listed === undefined) return Array.from({ length: count }, (_, i) => String(i));
  // As CUDA reads it: the first that is none hides those behind it.
  const end = listed.findIndex(
    (gpu) => gpu === '' || gpu === '-1' || (/^\d+$/.test(gpu) && Number(gpu) >= count),
  );
  return end < 0 ? listed : listed.slice(0, end);
}
