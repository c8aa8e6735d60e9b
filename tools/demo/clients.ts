import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { VolantClient } from '@volant/client'
import { attachmentTable, serverTable, volumeTable } from './own-tables.ts'

/** What the demo types. Each answers with what the client prints. */
export interface Typist {
  /** Whose output it is. */
  name: string
  run(argv: readonly string[]): Promise<string>
}

const run = promisify(execFile)

async function installed(program: string): Promise<boolean> {
  return run('sh', ['-c', `command -v ${program}`]).then(
    () => true,
    () => false,
  )
}

/** The stock clients, with the openrc that a user would source. */
function stockClients(openrc: string): Typist {
  return {
    name: 'the stock nova and cinder clients',
    async run(argv) {
      try {
        const { stdout } = await run('sh', ['-c', '. "$0"; exec "$@"', openrc, ...argv], { timeout: 60_000 })
        return stdout
      } catch (error) {
        const { stdout, stderr } = error as { stdout?: string; stderr?: string }
        throw new Error(`${argv.join(' ')}: ${stderr ?? ''}${stdout ?? ''}`.trim(), { cause: error })
      }
    },
  }
}

const after = (argv: readonly string[], option: string): string => argv[argv.indexOf(option) + 1] ?? ''

/** The same commands through Volant's own client, in the same tables. */
function ownClients(client: VolantClient): Typist {
  const { compute, volume } = client
  const server = async (name: string): Promise<string> => {
    const found = (await compute.list()).find((candidate) => candidate.name === name || candidate.id === name)
    if (found === undefined) throw new Error(`there is no server ${name}`)
    return found.id
  }
  const commands: Record<string, (argv: readonly string[]) => Promise<string>> = {
    'nova boot': async (argv) => {
      const image = after(argv, '--image')
      const name = argv.at(-1) ?? ''
      return serverTable(await compute.create({ name, flavor: after(argv, '--flavor'), image }), image)
    },
    'nova show': async (argv) =>
      serverTable(await compute.show(await server(argv.at(-1) ?? '')), 'volant-probe'),
    'nova volume-attach': async (argv) =>
      attachmentTable(await compute.attach(await server(argv[2] ?? ''), argv[3] ?? '')),
    'nova stop': async (argv) => {
      await compute.stop(await server(argv[2] ?? ''))
      return `Request to stop server ${argv[2]} has been accepted.`
    },
    'nova start': async (argv) => {
      await compute.start(await server(argv[2] ?? ''))
      return `Request to start server ${argv[2]} has been accepted.`
    },
    'cinder create': async (argv) =>
      volumeTable(await volume.create({ name: after(argv, '--name'), size: Number(argv.at(-1)) })),
    'cinder show': async (argv) => volumeTable(await volume.show(argv[2] ?? '')),
    'cinder migrate': async (argv) => {
      await volume.migrate(argv[2] ?? '', argv[3] ?? '')
      return `Request to migrate volume ${argv[2]} has been accepted.`
    },
  }
  return {
    name: "Volant's own client (nova and cinder are not installed)",
    async run(argv) {
      const command = commands[argv.slice(0, 2).join(' ')]
      if (command === undefined) throw new Error(`unknown command ${argv.join(' ')}`)
      return command(argv)
    },
  }
}

/** The stock clients where both are installed, else Volant's own. */
export async function findTypist(openrc: string, client: VolantClient): Promise<Typist> {
  const stock = (await installed('nova')) && (await installed('cinder'))
  return stock && process.env['VOLANT_DEMO_CLIENT'] !== 'own' ? stockClients(openrc) : ownClients(client)
}
