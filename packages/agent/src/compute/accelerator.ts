import { accessSync, constants, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '@volant/contract'
import { ensureGone, isAlive, readJson, startDetached, tailOf, writeJsonDurably } from '@volant/qemu'
import { acceleratorArguments } from './command-line.ts'

export interface ProbeKernel {
  path: string
  initrdPath?: string
  commandLine: string
}

export interface AcceleratorVerdict {
  accelerator: 'kvm' | 'tcg'
  /** Why not KVM. */
  reason?: string
}

interface CachedVerdict extends AcceleratorVerdict {
  bootId: string
  qemuVersion: string
  kernelPath: string
}

/** Under KVM the kernel's first words come within half a second; under one that does not work, never. */
const patienceMs = 4000
/** The kernel's own first line, or that of the probe guest, which boots quietly. */
const signOfLife = /Linux version|PROBE ready/

const kvmDeviceProblem = (): string | undefined => {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? '/dev/kvm is not there' : `/dev/kvm cannot be opened: ${messageOf(error)}`
  }
}

/** Agents of several hosts in one process ask at the same time. */
const trials = new Map<string, Promise<string | undefined>>()

const tryKvmOnce = (kernel: ProbeKernel, folder: string): Promise<string | undefined> => {
  const trial = trials.get(kernel.path) ?? tryKvm(kernel, folder).finally(() => trials.delete(kernel.path))
  trials.set(kernel.path, trial)
  return trial
}

/** Boots the kernel under KVM until it says something. Returns why it did not. */
const tryKvm = async (kernel: ProbeKernel, folder: string): Promise<string | undefined> => {
  // What a trial that was cut short has left.
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { mode: 0o700 })
  const consolePath = join(folder, 'console')
  const logPath = join(folder, 'qemu.log')
  const identity = startDetached({
    // A trial is nobody's guest: it ends with the process that makes it, whatever ends that.
    command: 'setpriv',
    args: [
      ['--pdeathsig', 'KILL', 'qemu-system-x86_64'],
      ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-machine', 'pc', '-m', '128'],
      acceleratorArguments('kvm'),
      ['-kernel', kernel.path, '-append', kernel.commandLine],
      kernel.initrdPath === undefined ? [] : ['-initrd', kernel.initrdPath],
      ['-serial', `file:${consolePath}`],
    ].flat(),
    logPath,
  })
  try {
    const end = performance.now() + patienceMs
    while (performance.now() < end) {
      if (signOfLife.test(tailOf(consolePath, 65_536))) return undefined
      if (!isAlive(identity)) return `a guest under KVM ended at once: ${tailOf(logPath)}`
      await sleep(50)
    }
    return `a guest under KVM said nothing in ${patienceMs / 1000} s`
  } finally {
    await ensureGone(identity)
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * Finds out whether guests run under KVM here, by running one: /dev/kvm may be there and its guests still hang.
 * The verdict is kept at `cachePath` until the machine boots again or QEMU changes.
 */
export const findAccelerator = async (
  cachePath: string,
  qemuVersion: string,
  kernel: ProbeKernel | undefined,
): Promise<AcceleratorVerdict> => {
  const problem = kvmDeviceProblem()
  if (problem !== undefined) return { accelerator: 'tcg', reason: problem }
  if (kernel === undefined)
    return { accelerator: 'tcg', reason: 'KVM was not tried: no kernel was given to try it with' }
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  const cached = readJson(cachePath) as CachedVerdict | undefined
  if (cached?.bootId === bootId && cached.qemuVersion === qemuVersion && cached.kernelPath === kernel.path) {
    const { accelerator, reason } = cached
    return { accelerator, ...(reason === undefined ? {} : { reason }) }
  }
  const failure = await tryKvmOnce(kernel, join(dirname(cachePath), 'kvm-trial'))
  const verdict: AcceleratorVerdict =
    failure === undefined ? { accelerator: 'kvm' } : { accelerator: 'tcg', reason: failure }
  const entry: CachedVerdict = { ...verdict, bootId, qemuVersion, kernelPath: kernel.path }
  writeJsonDurably(cachePath, entry)
  return verdict
}
