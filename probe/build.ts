/**
 * Builds the guests of the tests: Debian's cloud kernel and, for each, an initramfs of one static program and the
 * modules it needs. The kernel's package is downloaded and unpacked into the cache, never installed.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { access, mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { DomainError, messageOf } from '@volant/contract'

const run = promisify(execFile)

export interface ProbeGuest {
  kernelPath: string
  initrdPath: string
  /** Append `probe.iops=N probe.threads=N probe.span=BYTES probe.fill=BYTES` to change the load; see README.md. */
  commandLine: string
}

/**
 * What the kernel does at boot for nobody here is left out, since most machines emulate it: the tests of its ciphers alone are
 * a sixth of a boot; then zeroes in all that it allocates, and a fifth level of page tables.
 */
const commandLine =
  'console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check tsc=reliable random.trust_cpu=on ' +
  'cryptomgr.notests=1 init_on_alloc=0 no5lvl'

/** What one guest consists of. */
interface Recipe {
  /** Of its program. */
  name: string
  sources: string[]
  headers: string[]
  /** What it needs beyond the kernel proper, and beyond what these depend on. */
  modules: string[]
}

/** Disks, and the power button as an input device. */
const probe: Recipe = {
  name: 'probe',
  sources: ['probe.c', 'guest.c', 'machine.c', 'session.c', 'record.c'],
  headers: ['guest.h', 'machine.h', 'session.h', 'record.h'],
  modules: ['virtio_pci', 'virtio_blk', 'button', 'evdev'],
}

/** The kernel's NFS client, a network card, and the serial port that it is commanded over. */
const nfs: Recipe = {
  name: 'nfs-guest',
  sources: [
    ...['nfs-guest.c', 'nfs-command.c', 'nfs-work.c', 'nfs-kinds.c', 'nfs-bench.c', 'nfs-report.c'],
    ...['machine.c', 'record.c'],
  ],
  headers: ['nfs-command.h', 'nfs-work.h', 'nfs-bench.h', 'nfs-report.h', 'machine.h', 'record.h'],
  modules: ['virtio_pci', 'virtio_net', 'virtio_console', 'nfs', 'nfsv3', 'nfsv4'],
}

const kernelPackage = /^linux-image-6\.1\.\d+-\d+-cloud-amd64$/
const downloadTimeoutMs = 300_000

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/** Replaces a file as a whole, so that an interrupted build leaves no half of it. */
const writeWhole = async (path: string, data: Uint8Array | string): Promise<void> => {
  const part = `${path}.${process.pid}.part`
  await writeFile(part, data)
  await rename(part, path)
}

/** The package that `linux-image-cloud-amd64` stands for today. */
const newestKernelPackage = async (): Promise<string> => {
  const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'])
  const name = stdout
    .split('\n')
    .map((line) => line.trim().replace(/^Depends: /, ''))
    .find((line) => kernelPackage.test(line))
  if (name === undefined) throw new Error('apt knows no package linux-image-cloud-amd64; run apt-get update')
  return name
}

const isPackage = (name: string): boolean => name.endsWith('.deb')

/** The kernel's package file in the cache; downloaded where there is none yet. */
const kernelPackageFile = async (folder: string): Promise<string> => {
  const present = (await readdir(folder)).filter(isPackage).sort().at(-1)
  if (present !== undefined) return join(folder, present)
  try {
    const name = await newestKernelPackage()
    await run('apt-get', ['download', '-q', name], { cwd: folder, timeout: downloadTimeoutMs })
  } catch (error) {
    throw new DomainError(
      'unavailable',
      `the probe guest needs Debian's cloud kernel, which could not be downloaded; put linux-image-6.1.*-cloud-amd64_*.deb into ${folder}: ${messageOf(error)}`,
      { cause: error },
    )
  }
  const found = (await readdir(folder)).filter(isPackage).sort().at(-1)
  if (found === undefined) throw new Error(`apt-get download left no package in ${folder}`)
  return join(folder, found)
}

interface Kernel {
  /** The unpacked package. */
  root: string
  vmlinuz: string
  /** Module name, with underscores, to its file, which may be compressed. */
  modules: Map<string, string>
}

const moduleName = (file: string): string =>
  basename(file)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_')

const unpackKernel = async (packageFile: string, root: string): Promise<Kernel> => {
  await rm(root, { recursive: true, force: true })
  await mkdir(root, { recursive: true })
  await run('dpkg-deb', ['-x', packageFile, root])
  const kernels = (await readdir(join(root, 'boot'))).filter((name) => name.startsWith('vmlinuz-'))
  const vmlinuz = kernels[0]
  if (vmlinuz === undefined) throw new Error(`${packageFile} holds no kernel`)
  const files = await readdir(join(root, 'lib/modules'), { recursive: true })
  const modules = new Map(
    files
      .filter((file) => /\.ko(\.xz)?$/.test(file))
      .map((file) => [moduleName(file), join(root, 'lib/modules', file)]),
  )
  return { root, vmlinuz: join(root, 'boot', vmlinuz), modules }
}

const readModule = async (file: string): Promise<Buffer> => {
  if (!file.endsWith('.xz')) return readFile(file)
  const { stdout } = await run('xz', ['-dc', file], { encoding: 'buffer', maxBuffer: 64 << 20 })
  return stdout
}

/** The names in the module's own `depends=`; the package has no modules.dep before it is installed. */
const dependenciesOf = (module: Buffer): string[] => {
  const label = Buffer.from('\0depends=')
  const at = module.indexOf(label)
  if (at < 0) return []
  const from = at + label.length
  return module
    .toString('latin1', from, module.indexOf(0, from))
    .split(',')
    .filter((name) => name !== '')
    .map((name) => name.replaceAll('-', '_'))
}

/** The wanted modules and all they depend on, in the order of loading. What is built in has no file. */
const collectModules = async (kernel: Kernel, wanted: string[]): Promise<Map<string, Buffer>> => {
  const collected = new Map<string, Buffer>()
  const collect = async (name: string): Promise<void> => {
    const file = kernel.modules.get(name)
    if (file === undefined || collected.has(name)) return
    const content = await readModule(file)
    for (const dependency of dependenciesOf(content)) await collect(dependency)
    collected.set(name, content)
  }
  for (const name of wanted) await collect(name)
  return collected
}

const archive = async (root: string): Promise<Buffer> => {
  const { stdout } = await run(
    'sh',
    ['-c', 'find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible'],
    { cwd: root, encoding: 'buffer', maxBuffer: 256 << 20 },
  )
  return stdout
}

const buildInitramfs = async (
  recipe: Recipe,
  programPath: string,
  kernel: Kernel,
  folder: string,
): Promise<Buffer> => {
  const root = join(folder, `root.${recipe.name}.${process.pid}`)
  await rm(root, { recursive: true, force: true })
  try {
    const modulesFolder = join(root, 'modules')
    await mkdir(modulesFolder, { recursive: true })
    const modules = await collectModules(kernel, recipe.modules)
    for (const [name, content] of modules) await writeFile(join(modulesFolder, `${name}.ko`), content)
    const order = [...modules.keys()].map((name) => `${name}.ko\n`).join('')
    await writeFile(join(modulesFolder, 'order'), order)
    await writeFile(join(root, 'init'), await readFile(programPath), { mode: 0o755 })
    return gzipSync(await archive(root), { level: 6 })
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

const hashOf = async (names: readonly string[], ...more: string[]): Promise<string> => {
  const hash = createHash('sha256')
  for (const text of more) hash.update(text)
  for (const name of names) hash.update(await readFile(join(import.meta.dirname, name)))
  return hash.digest('hex').slice(0, 16)
}

const ensureProgram = async (recipe: Recipe, cacheDir: string): Promise<string> => {
  const folder = join(cacheDir, 'probe')
  await mkdir(folder, { recursive: true })
  const path = join(folder, `${recipe.name}-${await hashOf([...recipe.sources, ...recipe.headers])}`)
  if (await exists(path)) return path
  const part = `${path}.${process.pid}.part`
  await run('gcc', ['-static', '-O2', '-Wall', '-Wextra', '-o', part, ...recipe.sources], {
    cwd: import.meta.dirname,
  })
  await rename(part, path)
  return path
}

/** The probe as a program of this machine (`probe FILE --serial …`); built where its sources have changed. */
export const ensureProbeProgram = (cacheDir: string): Promise<string> => ensureProgram(probe, cacheDir)

const ensureGuest = async (recipe: Recipe, initramfs: string, cacheDir: string): Promise<ProbeGuest> => {
  const folder = join(cacheDir, 'probe')
  const kernelFolder = join(folder, 'kernel')
  await mkdir(kernelFolder, { recursive: true })
  const packageFile = await kernelPackageFile(kernelFolder)
  const hash = await hashOf(
    [...recipe.sources, ...recipe.headers, 'build.ts'],
    basename(packageFile),
    commandLine,
  )
  const kernelPath = join(folder, `vmlinuz-${basename(packageFile, '.deb').split('_')[1]}`)
  const initrdPath = join(folder, `${initramfs}-${hash}.gz`)
  const guest = { kernelPath, initrdPath, commandLine }
  if ((await exists(kernelPath)) && (await exists(initrdPath))) return guest
  const kernel = await unpackKernel(packageFile, join(kernelFolder, `unpacked.${recipe.name}.${process.pid}`))
  const program = await ensureProgram(recipe, cacheDir)
  await writeWhole(kernelPath, await readFile(kernel.vmlinuz))
  await writeWhole(initrdPath, await buildInitramfs(recipe, program, kernel, folder))
  await rm(kernel.root, { recursive: true, force: true })
  return guest
}

/**
 * The probe guest's kernel and initramfs under `cacheDir`; a second call finds them. Needs gcc, cpio and, the
 * first time, either the network or the kernel's .deb in `cacheDir/probe/kernel`. Throws `unavailable` where the
 * kernel cannot be downloaded.
 */
export const ensureProbeGuest = (cacheDir: string): Promise<ProbeGuest> =>
  ensureGuest(probe, 'initramfs', cacheDir)

/**
 * The same for the guest that is an NFS client. Its command line takes `guest.name=NAME guest.address=A.B.C.D/BITS
 * guest.gateway=A.B.C.D`; see README.md.
 */
export const ensureNfsGuest = (cacheDir: string): Promise<ProbeGuest> =>
  ensureGuest(nfs, 'nfs-initramfs', cacheDir)

if (import.meta.main) {
  const cacheDir = join(import.meta.dirname, '..', '.cache')
  for (const ensure of [ensureProbeGuest, ensureNfsGuest]) {
    const guest = await ensure(cacheDir)
    console.log(`guest: ${guest.kernelPath} ${guest.initrdPath}`)
  }
}
