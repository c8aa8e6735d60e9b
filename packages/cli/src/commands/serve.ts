import type { Command } from 'commander'
import { messageOf } from '@volant/contract/errors.ts'
import { flushCompileCache } from 'node:module'
import { join, resolve } from 'node:path'
import { withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { endRequested } from '../instance/end-requested.ts'
import { programCommand } from '../instance/program-command.ts'
import { claimStateFolder } from '../instance/record.ts'
import { defaultPort, prepareStateFolder, stateFolder } from '../instance/state-folder.ts'
import { createLog } from '../output/log.ts'
import { integerArgument } from '../output/quantity.ts'
import { volantVersion } from '../version.ts'

interface ServeOptions extends CommonOptions {
  port: number
  config?: string
}

async function serve(options: ServeOptions, main: string): Promise<void> {
  const stateDir = stateFolder(options.state)
  await prepareStateFolder(stateDir)
  const claim = await claimStateFolder(stateDir, volantVersion())
  const log = createLog(process.stdout)
  try {
    const ending = endRequested()
    const { startControlPlane } = await import('@volant/control/main.ts')
    const plane = await startControlPlane({
      stateDir,
      port: options.port,
      log,
      command: programCommand(main),
      cacheDir: join(import.meta.dirname, '../../../../.cache'),
      ...(options.config === undefined ? {} : { configPath: resolve(options.config) }),
    }).catch((error: unknown) => {
      throw explained(error, options.port)
    })
    await claim.ready(plane.url)
    log.info({ url: plane.url, stateDir }, 'ready')
    flushCompileCache() // else it is written at the end, and a killed process leaves none
    const signal = await ending
    log.info({ signal }, 'stopping')
    await plane.close()
  } finally {
    await claim.release()
  }
}

function explained(error: unknown, port: number): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EACCES' && (error as NodeJS.ErrnoException).syscall === 'listen') {
    return new CliError(
      exitCodes.failed,
      `this user may not listen on port ${port}; choose one from 1024 with --port (0: any free one)`,
      { cause: error },
    )
  }
  if (code !== 'EADDRINUSE') return error
  return new CliError(
    exitCodes.failed,
    `port ${port} on 127.0.0.1 is taken by another program; choose one with --port (0: any free one)`,
    { cause: messageOf(error) },
  )
}

export function addServe(program: Command, main: string): void {
  const command = program
    .command('serve')
    .description('run Volant in the foreground until Ctrl-C; logs to standard output')
    .option('--port <n>', 'HTTP port on 127.0.0.1; 0: any free one', integerArgument(0, 65_535), defaultPort)
    .option(
      '--config <file>',
      'configuration file (default: volant.yaml in the state folder, if there is one)',
    )
    .action((options: ServeOptions) => serve(options, main))
  withCommonOptions(command, ['volant serve', 'volant serve --state /srv/volant --port 8790'])
}
