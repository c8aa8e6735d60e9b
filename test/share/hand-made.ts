/** An NFS server by hand, beside the product's: what a guest sees of it is what it must see of ours. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tailOf } from '@volant/qemu'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathOfNetns } from './network.ts'

export interface HandMadeServer {
  /** Of the NFS server. */
  pid(): number
  start(): Promise<void>
  kill(): Promise<void>
}

export interface HandMadeExport {
  id: number
  /** Of the file system or folder that is exported. */
  path: string
  pseudo: string
  /** Addresses or networks that may write. */
  clients: string[]
}

/** Seconds for which clients may take back what they had, and for which they must say that they live. */
const graceSeconds = 10

const configOf = (folder: string, lif: string, exports: readonly HandMadeExport[]): string => `
NFS_CORE_PARAM { Bind_addr = ${lif}; Protocols = 4; NFS_Port = 2049; Enable_NLM = false;
  Enable_RQUOTA = false; Plugins_Dir = /usr/lib/x86_64-linux-gnu/ganesha; }
NFSV4 { Grace_Period = ${graceSeconds}; Lease_Lifetime = ${graceSeconds}; RecoveryBackend = fs;
  RecoveryRoot = ${folder}/recovery; Minor_Versions = 1, 2; Graceless = false; Server_Scope = "svm1";
  Server_Owner = "svm1"; Delegations = false; Only_Numeric_Owners = true; }
${exports
  .map(
    ({ id, path, pseudo, clients }) => `
EXPORT { Export_Id = ${id}; Path = ${path}; Pseudo = ${pseudo}; Filesystem_Id = 100.${id}; Protocols = 4;
  Transports = TCP; SecType = sys; Access_Type = NONE; Squash = No_Root_Squash; FSAL { Name = VFS; }
  CLIENT { Clients = ${clients.join(', ')}; Access_Type = RW; Squash = No_Root_Squash; } }`,
  )
  .join('\n')}
`

export function handMadeServer(
  folder: string,
  netns: string,
  lif: string,
  exports: readonly HandMadeExport[],
): HandMadeServer {
  mkdirSync(join(folder, 'recovery'), { recursive: true })
  const config = join(folder, 'ganesha.conf')
  writeFileSync(config, configOf(folder, lif, exports))
  let child: ChildProcess | undefined
  return {
    pid: () => child?.pid ?? 0,
    async start() {
      rmSync(join(folder, 'pid'), { force: true })
      child = spawn(
        'setpriv',
        [
          ['--pdeathsig', 'KILL', 'nsenter', `--net=${pathOfNetns(netns)}`, 'ganesha.nfsd', '-F'],
          ['-f', config, '-p', join(folder, 'pid'), '-L', join(folder, 'ganesha.log'), '-N', 'NIV_EVENT'],
        ].flat(),
        { stdio: 'ignore', env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${folder}/no-bus` } },
      )
      await listens(netns, lif, child, join(folder, 'ganesha.log'))
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

/** The port is looked at from inside its namespace. */
async function listens(netns: string, lif: string, server: ChildProcess, logPath: string): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; await sleep(50)) {
    if (server.exitCode !== null) {
      throw new Error(`the NFS server ended with ${server.exitCode}: ${tailOf(logPath, 2000)}`)
    }
    const probe = spawn(
      'nsenter',
      [`--net=${pathOfNetns(netns)}`, 'bash', '-c', `exec 3<>/dev/tcp/${lif}/2049`],
      {
        stdio: 'ignore',
      },
    )
    const [code] = (await once(probe, 'exit')) as [number | null]
    if (code === 0) return
  }
  throw new Error(`the NFS server does not listen at ${lif}`)
}
