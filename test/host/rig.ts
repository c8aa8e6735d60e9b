/**
 * A whole Volant on machines of its own: compute hosts and a storage node, each in a network namespace with a `volant node`
 * that joined with its credentials, and the control plane outside.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { programCommand } from '@volant/cli/instance/program-command.ts'
import { prepareStateFolder } from '@volant/cli/instance/state-folder.ts'
import { messageOf } from '@volant/contract/errors.ts'
import { issueNodeCredentials } from '@volant/control/node-credentials.ts'
import { ensureGone, isAlive, startDetached, tailOf, type ProcessIdentity } from '@volant/qemu'
import { leftovers, openPlane, until, type Plane } from '../migration/plane.ts'
import { processesOf, killNow } from '../crash/processes.ts'
import { followConsoles, type Consoles } from './consoles.ts'
import { openHostNetwork, type HostNetwork, type Place } from './network.ts'

const cliMain = join(import.meta.dirname, '../../packages/cli/src/main.ts')
const agentPort = 8781

/** A machine with its process of agents. */
export interface Machine extends Place {
  /** Of the process of agents. */
  agentName: string
  /** Its state folder. */
  stateDir: string
  /** What its process of agents says. */
  log: string
  startAgent(): void
  /** SIGKILL; guests and storage daemons run on. */
  killAgent(): Promise<void>
  /** The control plane has it for up, or for away. */
  isUp(): Promise<boolean>
}

export interface HostRig {
  plane: Plane
  network: HostNetwork
  storage: Machine
  hosts: Machine[]
  consoles: Consoles
  /** The folder with all machines' folders. */
  folder: string
  /** Where the storage node keeps its images. */
  aggregate: string
  /** Heals what was cut, starts what was killed, ends everything, and fails where something is left. */
  close(): Promise<void>
}

export interface HostRigOptions {
  hosts: number
  /** The file that is run as `serve`; absent: the product's. */
  program?: string
  /** Further lines of the configuration. */
  config?: string
}

export async function openHostRig(options: HostRigOptions): Promise<HostRig> {
  // As bin/volant does; the control plane and the agents start again and again.
  process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../../.cache/node')
  const network = openHostNetwork(options.hosts)
  const folder = mkdtempSync('/var/tmp/vh-')
  // Below the state folder it is made; elsewhere it would have to be there.
  const aggregate = join(folder, network.storage.name, 's', 'aggr1')
  const machines: Machine[] = []
  let plane: Plane | undefined
  let consoles: Consoles | undefined
  const close = async (): Promise<void> => {
    consoles?.close()
    await closeAll({ plane, network, machines, folder })
  }
  const add = (place: Place, part: string): Machine => {
    const machine = machineAt(place, `${place.name}-${part}`, folder, () => plane)
    machines.push(machine)
    return machine
  }
  try {
    const storage = add(network.storage, 'storage')
    const hosts = network.hosts.map((place) => add(place, 'compute'))
    consoles = followConsoles(hosts.map(({ stateDir, name }) => join(stateDir, 'hosts', name, 'guests')))
    // The agents first: the control plane finds all it wants where it starts.
    const prepare = async (stateDir: string): Promise<string> => {
      await prepareStateFolder(stateDir)
      const config = configOf(network, aggregate, options)
      const configPath = join(folder, 'volant.yaml')
      writeFileSync(configPath, config)
      for (const { name, agentName, startAgent } of machines) {
        const to = join(folder, name, 'credentials')
        await issueNodeCredentials({
          stateDir,
          hostname: hostname(),
          configPath,
          name: agentName,
          folder: to,
        })
        startAgent()
      }
      return config
    }
    plane = await openPlane(prepare, options.program)
    await allUp(machines)
    return { plane, network, storage, hosts, consoles, folder, aggregate, close }
  } catch (error) {
    await close().catch((also: unknown) => console.error(messageOf(also)))
    throw error
  }
}

async function allUp(machines: readonly Machine[]): Promise<void> {
  for (const machine of machines) {
    await until(`${machine.name} is up`, 60_000, () => machine.isUp()).catch((error: unknown) => {
      throw new Error(`${messageOf(error)}; its log: ${tailOf(machine.log)}`, { cause: error })
    })
  }
}

const configOf = ({ storage, hosts }: HostNetwork, aggregate: string, options: HostRigOptions): string => `
clusters:
  - name: cinder-lma
    nodes:
      - name: lma-01
        machine: ${storage.name}
        data_address: ${storage.data}
        agent: https://${storage.control}:${agentPort}
        aggregates: [{ name: aggr1, path: ${aggregate} }]
    flexvols: [{ name: cinder_flexvol_OSTK02, lif: ${storage.data}, node: lma-01, aggregate: aggr1 }]
compute_hosts:
${hosts.map((host) => `  - { ${hostKeys(host)} }`).join('\n')}
migration: { retention: 1s }
${options.config ?? ''}`

const hostKeys = ({ name, data, control }: Place): string =>
  `name: ${name}, machine: ${name}, data_address: ${data}, agent: "https://${control}:${agentPort}", vcpus: 64, memory: 4GiB`

function machineAt(place: Place, agentName: string, folder: string, plane: () => Plane | undefined): Machine {
  const own = join(folder, place.name)
  const stateDir = join(own, 's')
  const log = join(own, 'log')
  let agent: ProcessIdentity | undefined
  return {
    ...place,
    agentName,
    stateDir,
    log,
    startAgent() {
      if (isAlive(agent)) return
      const words = [...programCommand(cliMain), 'node', join(own, 'credentials'), '--state', stateDir]
      const args = [`--net=/run/netns/${place.netns}`, '--', ...words]
      agent = startDetached({ command: 'nsenter', args, logPath: log })
    },
    async killAgent() {
      await ensureGone(agent)
    },
    async isUp() {
      const status = await plane()?.client.ndo.status()
      return status?.agents.find(({ name }) => name === agentName)?.up === true
    },
  }
}

interface Opened {
  plane: Plane | undefined
  network: HostNetwork
  machines: readonly Machine[]
  folder: string
}

/** Nothing stays, whatever went wrong; what went wrong is told. */
async function closeAll({ plane, network, machines, folder }: Opened): Promise<void> {
  const keep = process.env['VOLANT_TEST_KEEP'] !== undefined
  try {
    for (const machine of machines) {
      machine.heal('control')
      machine.heal('data')
      machine.show()
      machine.startAgent()
    }
    if (plane !== undefined) {
      await plane.start()
      await allUp(machines)
      await plane.close()
    }
    for (const machine of machines) await machine.killAgent()
    assert.deepEqual(await leftovers(folder), [], 'nothing of the machines is left running')
  } finally {
    for (const place of [folder, ...(plane === undefined ? [] : [plane.stateDir])]) {
      await killNow((await processesOf(place)).map(({ pid }) => pid))
    }
    network.close()
    if (keep) console.log(`kept: ${folder}`)
    else
      for (const place of [folder, plane?.stateDir ?? folder]) rmSync(place, { recursive: true, force: true })
  }
}
