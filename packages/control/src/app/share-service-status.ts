import { messageOf } from '@volant/contract'
import type { ShareServiceStatus } from '@volant/contract/ndo/status.ts'
import type { Share } from '../domain/share.ts'
import type { ShareService } from '../domain/topology.ts'
import type { Agents } from '../ports/agents.ts'

/** How a cluster serves its shares now. `shares`: those of the cluster. */
export async function shareServiceStatus(
  agents: Pick<Agents, 'shares'>,
  { backend, lif, node }: ShareService,
  shares: readonly Pick<Share, 'id'>[],
): Promise<ShareServiceStatus> {
  const known = { backend, lif, node, shares: shares.length }
  try {
    const agent = agents.shares(node)
    const [missing, served, servers, clients] = await Promise.all([
      agent.missing(),
      agent.listShares(),
      agent.listServers(),
      agent.listClients(),
    ])
    return {
      ...known,
      up: true,
      reason: null,
      missing,
      servers: servers.map(({ svm, lif: at, pid, trouble }) => ({
        svm,
        lif: at,
        pid,
        exports: served.filter((one) => one.export?.server.svm === svm).length,
        clients: clients.filter((one) => one.svm === svm).length,
        trouble: trouble ?? null,
      })),
      troubles: served.flatMap(({ shareId, fileSystem }) =>
        fileSystem?.trouble === undefined ? [] : [{ share: shareId, reason: fileSystem.trouble }],
      ),
    }
  } catch (error) {
    return { ...known, up: false, reason: messageOf(error), missing: [], servers: [], troubles: [] }
  }
}
