import { access, readFile } from 'node:fs/promises'
import type { VolantClient } from '@volant/client'
import type { VolumePlacement } from '@volant/contract/ndo/placement.ts'
import type { Command } from 'commander'
import type { VerifyReport } from '../../../../probe/verify.ts'
import { clientFor, print, withCommonOptions, withExamples, type CommonOptions } from '../context.ts'
import { CliError, exitCodes } from '../exit-codes.ts'
import { formatProperties } from '../output/table.ts'

interface VerifyOptions extends CommonOptions {
  console?: string[]
}

export interface ProbeVerification extends VerifyReport {
  volume: string
  host: string | null
  path: string
  /** The guest wrote on while the image was read. */
  live: boolean
}

function needed(placement: VolumePlacement, volumeId: string): { path: string; console: string | undefined } {
  if (placement.path === null) {
    throw new CliError(exitCodes.refused, `volume ${volumeId} has no image yet`)
  }
  return { path: placement.path, console: placement.console_log_path ?? undefined }
}

async function consoleText(paths: readonly string[]): Promise<string> {
  const logs = await Promise.all(
    paths.map((path) =>
      readFile(path, 'utf8').catch((error: unknown) => {
        throw new CliError(
          exitCodes.notFound,
          `cannot read the console log ${path}: ${(error as Error).message}`,
          { cause: error },
        )
      }),
    ),
  )
  return logs.join('\n')
}

/** Proves that the volume's image, where it lies now, holds every write that its guest's probe saw acknowledged. */
export async function verifyVolume(
  client: VolantClient,
  nameOrId: string,
  consoleLogs?: readonly string[],
): Promise<ProbeVerification> {
  const volume = await client.volume.find(nameOrId)
  const placement = await client.ndo.placement(volume.id)
  const { path, console } = needed(placement, volume.id)
  const logs = consoleLogs ?? (console === undefined ? [] : [console])
  if (logs.length === 0) {
    throw new CliError(
      exitCodes.refused,
      `volume ${volume.id} is attached to no server, so there is no console log to verify it against; name one with --console FILE`,
    )
  }
  await access(path).catch((error: unknown) => {
    throw new CliError(
      exitCodes.refused,
      `the image ${path} cannot be read here: run this on ${placement.machine}`,
      { cause: error },
    )
  })
  const { verifyImage } = await import('../../../../probe/verify.ts')
  const live = await writesNow(client, placement)
  const report = await verifyImage({
    imagePath: path,
    consoleLog: await consoleText(logs),
    serial: placement.serial,
    live,
  })
  // Nothing was promised, so nothing is proven: that must not look like a proof.
  if (report.ok && report.acknowledgedWrites === 0) {
    throw new CliError(
      exitCodes.refused,
      `there is nothing to verify: the console log (${logs.join(', ')}) tells of no write to volume ${volume.id} yet`,
    )
  }
  return { volume: volume.id, host: placement.host, path, live, ...report }
}

async function writesNow(client: VolantClient, placement: VolumePlacement): Promise<boolean> {
  if (placement.server_id === null) return false
  const { status, 'OS-EXT-STS:power_state': power } = await client.compute.show(placement.server_id)
  return status === 'ACTIVE' || (status === 'VERIFY_RESIZE' && power === 1)
}

export function addProbe(program: Command): void {
  const group = program
    .command('probe')
    .description('the probe guest: a writer whose every write can be checked')
  withExamples(group, ['volant probe verify data'])
  const verify = group
    .command('verify <volume>')
    .description(
      "prove that the volume's image holds every write that the probe saw acknowledged, whole and in its place",
    )
    .option('--console <file...>', "the guest's console logs, oldest first (default: the attached server's)")
    .action(async (volume: string, options: VerifyOptions) => {
      const report = await verifyVolume(await clientFor(options), volume, options.console)
      print(options, report, () => formatProperties({ ...report, problems: report.problems.join('\n') }))
      if (!report.ok)
        throw new CliError(
          exitCodes.failed,
          `volume ${report.volume} is NOT right: ${report.problems[0] ?? 'see above'}`,
        )
    })
  withCommonOptions(verify, [
    'volant probe verify data',
    'volant probe verify data --json | jq .acknowledgedWrites',
  ])
}
