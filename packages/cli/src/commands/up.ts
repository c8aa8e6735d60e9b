import type { Command } from 'commander'
import { print, withCommonOptions, type CommonOptions } from '../context.ts'
import { startInBackground } from '../instance/start.ts'
import { defaultPort, stateFolder } from '../instance/state-folder.ts'
import { integerArgument } from '../output/quantity.ts'
import { resolve } from 'node:path'

interface UpOptions extends CommonOptions {
  port: number
  config?: string
}

/** For a shell: quoted where it has to be. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`

/** What was asked for and is not so, because it runs already with something else. */
function notInEffect(options: UpOptions, portGiven: boolean, url: string): string[] {
  const given = [
    ...(portGiven && options.port !== 0 && String(options.port) !== new URL(url).port
      ? [`--port ${options.port}`]
      : []),
    ...(options.config === undefined ? [] : [`--config ${options.config}`]),
  ]
  return given.length === 0 ? [] : [`${given.join(' and ')} had no effect: it takes volant down first`]
}

export function addUp(program: Command, main: string): void {
  const command = program
    .command('up')
    .description('start Volant in the background; returns when it is ready')
    .option('--port <n>', 'HTTP port on 127.0.0.1; 0: any free one', integerArgument(0, 65_535), defaultPort)
    .option(
      '--config <file>',
      'configuration file (default: volant.yaml in the state folder, if there is one)',
    )
    .action(async (options: UpOptions, self: Command) => {
      const stateDir = stateFolder(options.state)
      const { record, alreadyRunning } = await startInBackground({
        stateDir,
        port: options.port,
        program: main,
        ...(options.config === undefined ? {} : { configFile: resolve(options.config) }),
      })
      const notes = alreadyRunning
        ? notInEffect(options, self.getOptionValueSource('port') === 'cli', record.url)
        : []
      for (const note of notes) process.stderr.write(`volant: ${note}\n`)
      const result = { url: record.url, pid: record.pid, state: stateDir, already_running: alreadyRunning }
      print(options, result, () =>
        [
          `Volant ${alreadyRunning ? 'runs already' : 'is ready'}: ${record.url} (pid ${record.pid})`,
          `  source ${shellWord(`${stateDir}/openrc`)} && cinder list && openstack server list`,
        ].join('\n'),
      )
    })
  withCommonOptions(command, ['volant up', 'volant up --state /srv/volant --port 8790 --config volant.yaml'])
}
