import type { Command } from 'commander'
import { flushCompileCache } from 'node:module'
import { join, resolve } from 'node:path'
import { withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { endRequested } from '../instance/end-requested.ts'
import { lockStateFolder } from '../instance/lock.ts'
import { prepareStateFolder, stateFolder } from '../instance/state-folder.ts'
import { createLog } from '../output/log.ts'

interface NodeOptions extends CommonOptions {
  listen?: { host: string; port: number }
}

/** `10.0.0.7:8781`, `[fd00::7]:8781` */
function addressArgument(text: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:[\]]+):(\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (match === null || port > 65_535) {
    throw new CliError(exitCodes.usage, `"${text}" is no address; write one like 10.0.0.7:8781`)
  }
  return { host: (match[1] ?? '').replace(/^\[|\]$/g, ''), port }
}

async function node(credentials: string, options: NodeOptions): Promise<void> {
  const stateDir = stateFolder(options.state)
  await prepareStateFolder(stateDir)
  const { nodeFolder, openNode } = await import('@volant/control/node.ts')
  const log = createLog(process.stdout)
  const given = {
    credentialsDir: resolve(credentials),
    stateDir,
    log,
    cacheDir: join(import.meta.dirname, '../../../../.cache'),
    ...(options.listen === undefined ? {} : { listen: options.listen }),
  }
  const { name, folder } = nodeFolder(given)
  const lock = lockStateFolder(folder)
  if (lock === undefined) {
    throw new CliError(exitCodes.refused, `the agents ${name} run already, with the state folder ${stateDir}`)
  }
  try {
    const ending = endRequested()
    const running = await openNode(given)
    log.info({ agent: name, url: running.url, stateDir }, 'ready')
    flushCompileCache() // else it is written at the end, and a killed process leaves none
    const signal = await ending
    log.info({ signal }, 'stopping')
    await running.close()
  } finally {
    lock.release()
  }
}

export function addNode(program: Command): void {
  const command = program
    .command('node <credentials>')
    .description(
      'run the agents of one machine in the foreground until Ctrl-C, for a control plane elsewhere; its daemons and servers outlive it',
    )
    .option(
      '--listen <address>',
      'where the control plane reaches it, HOST:PORT (default: as the credentials say)',
      addressArgument,
    )
    .action(node)
  withCommonOptions(command, [
    'volant node /etc/volant/store-a',
    'volant node /etc/volant/store-a --state /srv/volant --listen 10.0.0.7:8781',
  ])
}
