import type { Command } from 'commander'
import { endAgentProcesses } from '@volant/control/agent-process.ts'
import { print, withCommonOptions, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { withStateFolder } from '../instance/record.ts'
import { requireStateFolder, stateFolder } from '../instance/state-folder.ts'
import { stopControlPlane } from '../instance/stop.ts'

interface DownOptions extends CommonOptions {
  all?: boolean
}

export function addDown(program: Command): void {
  const command = program
    .command('down')
    .description(
      'stop Volant; servers, their volumes and shares run on, and are found again by the next `up`',
    )
    .option(
      '--all',
      'stop the servers (powered off), the shares (their clients wait) and all storage daemons too',
    )
    .action(async (options: DownOptions) => {
      const stateDir = stateFolder(options.state)
      await requireStateFolder(stateDir)
      const stopped = await stopControlPlane(stateDir)
      let agents = 0
      let away: string[] = []
      await withStateFolder(stateDir, async () => {
        agents = await endAgentProcesses(stateDir)
        if (options.all !== true) return
        const { stopDataPlane } = await import('@volant/control/stop-all.ts')
        away = await stopDataPlane(stateDir)
      })
      const result = {
        was_running: stopped.pid !== null,
        pid: stopped.pid,
        killed: stopped.killed,
        agents,
        away,
      }
      print(options, { ...result, data_plane_stopped: options.all === true }, () =>
        [
          stopped.pid === null ? 'Volant was not running' : `Volant (pid ${stopped.pid}) is stopped`,
          ...(stopped.killed ? ['it did not end when asked, and was killed; nothing is lost by that'] : []),
          ...(agents > 0 ? [`processes of agents stopped: ${agents}`] : []),
          ...(options.all === true ? ['servers, shares and storage daemons are stopped'] : []),
        ].join('\n'),
      )
      if (away.length === 0) return
      throw new CliError(
        exitCodes.failed,
        `these agents are away, and what they have runs on: ${away.join(', ')}; say it again when they are back`,
      )
    })
  withCommonOptions(command, ['volant down', 'volant down --state /srv/volant --all'])
}
